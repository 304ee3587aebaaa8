# Run with every build: fills in build_commit.h.in, and leaves the file alone where nothing changed.
# COMMIT, or else GIT and SOURCE_DIR to ask; IN, OUT.
set(commit "${COMMIT}")
if(NOT commit AND GIT AND EXISTS ${SOURCE_DIR}/.git)
  execute_process(COMMAND ${GIT} rev-parse HEAD WORKING_DIRECTORY ${SOURCE_DIR} OUTPUT_VARIABLE commit
                  OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
configure_file(${IN} ${OUT} @ONLY)

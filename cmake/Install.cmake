# `cmake --install` has two components. program is what a user needs; its parts find each other by
# relative paths, so that its folder may be moved.
set(droidflow_doc_dir ${CMAKE_INSTALL_DATAROOTDIR}/doc/droidflow)
set(droidflow_completions_dir ${PROJECT_SOURCE_DIR}/src/droidflow/cli/completions)
install(TARGETS droidflow RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT program)
install(FILES ${PROJECT_BINARY_DIR}/droidflow.1.gz DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT program)
install(FILES ${droidflow_completions_dir}/droidflow.bash
        DESTINATION ${CMAKE_INSTALL_DATAROOTDIR}/bash-completion/completions
        RENAME droidflow
        COMPONENT program)
install(FILES ${droidflow_completions_dir}/droidflow.fish
        DESTINATION ${CMAKE_INSTALL_DATAROOTDIR}/fish/vendor_completions.d
        COMPONENT program)
# Debian's zsh does not look into /usr/share/zsh/site-functions.
install(CODE "
  set(zsh_functions site-functions)
  if(CMAKE_INSTALL_PREFIX STREQUAL \"/usr\" AND EXISTS /etc/debian_version)
    set(zsh_functions vendor-completions)
  endif()
  file(INSTALL \"${droidflow_completions_dir}/_droidflow\"
       DESTINATION \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_DATAROOTDIR}/zsh/\${zsh_functions}\")"
        COMPONENT program)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/scripts/
        DESTINATION ${CMAKE_INSTALL_DATAROOTDIR}/droidflow/scripts
        USE_SOURCE_PERMISSIONS
        COMPONENT program
        FILES_MATCHING
        PATTERN "*.sh"
        PATTERN "*.py"
        PATTERN "__pycache__" EXCLUDE)
install(FILES ${PROJECT_SOURCE_DIR}/README.md ${PROJECT_SOURCE_DIR}/CHANGELOG.md
        DESTINATION ${droidflow_doc_dir}
        COMPONENT program)
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${droidflow_doc_dir} RENAME copyright COMPONENT program)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/docs DESTINATION ${droidflow_doc_dir} COMPONENT program)

# development: the rooms become a package that find_package(droidflow) finds. Consumers need C
# and C++ enabled, as FindHDF5 does. The rooms' own files are installed by droidflow_add_room.
include(CMakePackageConfigHelpers)
set(droidflow_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/droidflow)

install(EXPORT droidflow NAMESPACE droidflow:: DESTINATION ${droidflow_package_dir} FILE targets.cmake)
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/config.cmake.in
                              ${PROJECT_BINARY_DIR}/droidflow-config.cmake
                              INSTALL_DESTINATION ${droidflow_package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/droidflow-config-version.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/droidflow-config.cmake
              ${PROJECT_BINARY_DIR}/droidflow-config-version.cmake
              ${CMAKE_CURRENT_LIST_DIR}/Dependencies.cmake
        DESTINATION ${droidflow_package_dir})

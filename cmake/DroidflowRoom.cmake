include(GNUInstallDirs)
# What is installed is for who develops with the rooms, unless it says that it is of the program.
set(CMAKE_INSTALL_DEFAULT_COMPONENT_NAME development)

# What every target of the project is compiled with. Numbers that reach a file must not depend on
# the instruction set: no contraction to FMA, no -march, and Eigen without its vector paths (set on
# the rooms themselves: it changes inline code that a consumer of a room compiles too).
add_library(droidflow_flags INTERFACE)
target_compile_options(droidflow_flags INTERFACE -Wall -Wextra -Wshadow -Wnon-virtual-dtor -ffp-contract=off)
# GCC 12 takes harmless string concatenation for overlapping copies (GCC bug 105651).
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  target_compile_options(droidflow_flags INTERFACE -Wno-restrict)
endif()
if(CMAKE_UNITY_BUILD AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # What a translation unit includes may be a .cc here.
  target_compile_options(droidflow_flags INTERFACE -Wno-subobject-linkage)
endif()
if(DROIDFLOW_WERROR)
  target_compile_options(droidflow_flags INTERFACE -Werror)
endif()
if(DROIDFLOW_SANITIZE)
  target_compile_options(
    droidflow_flags INTERFACE -fsanitize=${DROIDFLOW_SANITIZE} -fno-omit-frame-pointer
                              -fno-sanitize-recover=all)
  target_link_options(droidflow_flags INTERFACE -fsanitize=${DROIDFLOW_SANITIZE})
endif()

# The program <target> of a room's test files, which CTest runs as <name>.
function(droidflow_add_test target name)
  cmake_parse_arguments(TEST "" "ROOM" "SOURCES;LIBS" ${ARGN})
  add_executable(${target} ${TEST_SOURCES})
  target_link_libraries(${target} PRIVATE droidflow_${TEST_ROOM} ${TEST_LIBS} droidflow_flags GTest::gmock_main)
  # A test takes longer to optimise than it then saves.
  if(CMAKE_BUILD_TYPE STREQUAL "Release")
    target_compile_options(${target} PRIVATE -O1)
  endif()
  # In groups no larger than in the build that CI runs first: tests of different files share names.
  set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests
                                             UNITY_BUILD_BATCH_SIZE 8)
  target_compile_definitions(${target} PRIVATE DROIDFLOW_SHARED_DIR="${DROIDFLOW_SHARED_DIR}"
                                               DROIDFLOW_PYTHON="${DROIDFLOW_PYTHON}")
  add_test(NAME ${name} COMMAND ${target})
  set_tests_properties(${name} PROPERTIES TIMEOUT 900 LABELS ${TEST_ROOM})
endfunction()

# A room: one static library droidflow::<name> from the sources beside its CMakeLists.txt, and of its
# test files one program <name>_test, CTest "<name>"; a file of LONE_TESTS is a program of its own,
# <name>_<stem>, CTest "<name>/<stem>". DEPS are the rooms it may include (tools/check_layers.py
# holds the code to it); PUBLIC_LIBS show in its headers, PRIVATE_LIBS stay in its .cc files.
#
# But for the preset dev, several sources are one translation unit (CMAKE_UNITY_BUILD), which takes a
# third of the time: what is local to a .cc must have a name that is unique in the room. Files that
# cannot do so are in ALONE. KERNELS: a room whose code is optimised as far as it goes, and also for
# sanitizers, where the rest takes longer to optimise than it then saves.
function(droidflow_add_room)
  cmake_parse_arguments(ROOM "KERNELS" "NAME" "SOURCES;DEPS;PUBLIC_LIBS;PRIVATE_LIBS;TESTS;LONE_TESTS;TEST_LIBS;ALONE" ${ARGN})
  if(ROOM_ALONE)
    set_source_files_properties(${ROOM_ALONE} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
  endif()
  set(target droidflow_${ROOM_NAME})
  add_library(${target} STATIC ${ROOM_SOURCES})
  add_library(droidflow::${ROOM_NAME} ALIAS ${target})
  target_include_directories(${target} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src>
                                              $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_compile_definitions(${target} PUBLIC EIGEN_DONT_VECTORIZE)
  foreach(dep ${ROOM_DEPS})
    target_link_libraries(${target} PUBLIC droidflow_${dep})
  endforeach()
  target_link_libraries(${target} PUBLIC ${ROOM_PUBLIC_LIBS} PRIVATE ${ROOM_PRIVATE_LIBS}
                                                                     $<BUILD_INTERFACE:droidflow_flags>)
  if(ROOM_KERNELS AND DROIDFLOW_SANITIZE)
    target_compile_options(${target} PRIVATE -O1)
  elseif(ROOM_KERNELS AND CMAKE_BUILD_TYPE STREQUAL "Release")
    target_compile_options(${target} PRIVATE -O3)
  endif()
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${ROOM_NAME})
  install(TARGETS ${target} EXPORT droidflow ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
  install(DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR}/
          DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/droidflow/${ROOM_NAME}
          FILES_MATCHING
          PATTERN "*.h"
          PATTERN "*_internal.h" EXCLUDE
          PATTERN "*_matchers.h" EXCLUDE
          PATTERN "test_support.h" EXCLUDE)
  if(DROIDFLOW_BUILD_TESTS)
    if(ROOM_TESTS)
      droidflow_add_test(${ROOM_NAME}_test ${ROOM_NAME} ROOM ${ROOM_NAME} SOURCES ${ROOM_TESTS}
                         LIBS ${ROOM_TEST_LIBS})
    endif()
    foreach(test ${ROOM_LONE_TESTS})
      get_filename_component(stem ${test} NAME_WE)
      string(REGEX REPLACE "_test$" "" short ${stem})
      droidflow_add_test(${ROOM_NAME}_${stem} ${ROOM_NAME}/${short} ROOM ${ROOM_NAME} SOURCES ${test}
                         LIBS ${ROOM_TEST_LIBS})
      set_target_properties(${ROOM_NAME}_${stem} PROPERTIES UNITY_BUILD OFF)
    endforeach()
  endif()
endfunction()

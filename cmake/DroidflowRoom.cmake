include(GNUInstallDirs)

# What every target of the project is compiled with. Numbers that reach a file must not depend on
# the instruction set: no contraction to FMA, no -march, and Eigen without its vector paths (set on
# the rooms themselves: it changes inline code that a consumer of a room compiles too).
add_library(droidflow_flags INTERFACE)
target_compile_options(droidflow_flags INTERFACE -Wall -Wextra -Wshadow -Wnon-virtual-dtor -ffp-contract=off)
# GCC 12 takes harmless string concatenation for overlapping copies (GCC bug 105651).
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  target_compile_options(droidflow_flags INTERFACE -Wno-restrict)
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

# A room: one static library droidflow::<name> from the sources beside its CMakeLists.txt, and one
# CTest "<room>/<stem>" per test file. DEPS are the rooms it may include (tools/check_layers.py
# holds the code to it); PUBLIC_LIBS show in its headers, PRIVATE_LIBS stay in its .cc files.
function(droidflow_add_room)
  cmake_parse_arguments(ROOM "" "NAME" "SOURCES;DEPS;PUBLIC_LIBS;PRIVATE_LIBS;TESTS;TEST_LIBS" ${ARGN})
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
    foreach(test ${ROOM_TESTS})
      get_filename_component(stem ${test} NAME_WE)
      set(test_target ${ROOM_NAME}_${stem})
      add_executable(${test_target} ${test})
      target_link_libraries(${test_target} PRIVATE ${target} ${ROOM_TEST_LIBS} droidflow_flags
                                                   GTest::gmock_main)
      if(DROIDFLOW_SANITIZE)
        # Sanitized, a test takes twice as long to optimise as it then saves.
        target_compile_options(${test_target} PRIVATE -O0)
      endif()
      set_target_properties(${test_target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
      target_compile_definitions(${test_target} PRIVATE DROIDFLOW_SHARED_DIR="${DROIDFLOW_SHARED_DIR}"
                                                        DROIDFLOW_PYTHON="${DROIDFLOW_PYTHON}")
      string(REGEX REPLACE "_test$" "" short ${stem})
      add_test(NAME ${ROOM_NAME}/${short} COMMAND ${test_target})
      set_tests_properties(${ROOM_NAME}/${short} PROPERTIES TIMEOUT 300 LABELS ${ROOM_NAME})
    endforeach()
  endif()
endfunction()

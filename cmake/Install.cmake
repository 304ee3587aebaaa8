# `cmake --install`: the rooms become a package that find_package(droidflow) finds. Consumers need C
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

# `cpack -G DEB`: the component program as a Debian package, for the release of the system it is made on.
set(CPACK_INSTALL_CMAKE_PROJECTS "${PROJECT_BINARY_DIR};${PROJECT_NAME};program;/")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_PACKAGE_VENDOR "droidflow")
set(CPACK_PACKAGE_CONTACT "droidflow maintainers <maintainers@droidflow.invalid>")
set(CPACK_RESOURCE_FILE_LICENSE ${PROJECT_SOURCE_DIR}/LICENSE)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
# What is loaded, not linked (video/ffmpeg_internal.h): Debian names these packages after the soname.
set(ffmpeg_packages)
foreach(library avcodec avformat avutil swscale)
  string(REGEX MATCH "^[0-9]+" major "${ffmpeg_lib${library}_VERSION}")
  list(APPEND ffmpeg_packages lib${library}${major})
endforeach()
list(JOIN ffmpeg_packages ", " CPACK_DEBIAN_PACKAGE_DEPENDS)
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "ca-certificates, python3")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "python3-numpy")
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION
"droidflow makes 3-D tracks of points on the gripper's contact pads, their
2-D projections in every camera, camera poses, intrinsics, and metric depth
of stereo recordings, of one episode or of many.")
include(CPack)

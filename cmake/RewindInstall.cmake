# Installation: include/rewind, the static libraries, and the package that find_package(rewind) reads.
include(CMakePackageConfigHelpers)

install(TARGETS rewind_core rewind_autograd rewind_nn rewind_optim rewind_train rewind EXPORT rewindTargets FILE_SET HEADERS)
set(destination ${CMAKE_INSTALL_LIBDIR}/cmake/rewind)
install(EXPORT rewindTargets NAMESPACE rewind:: DESTINATION ${destination})
configure_package_config_file(cmake/rewindConfig.cmake.in ${PROJECT_BINARY_DIR}/cmake/rewindConfig.cmake INSTALL_DESTINATION ${destination})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/cmake/rewindConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/cmake/rewindConfig.cmake ${PROJECT_BINARY_DIR}/cmake/rewindConfigVersion.cmake DESTINATION ${destination})

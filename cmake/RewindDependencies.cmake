# What Rewind is built with. A failure names the Debian package that brings the missing part.

# The package as CMake knows it, and as Debian does.
macro(rewind_require package debian)
  find_package(${package} QUIET CONFIG)
  if(NOT ${package}_FOUND)
    message(FATAL_ERROR "rewind: ${package} not found: install Debian's ${debian} (./dev setup installs all that is missing)")
  endif()
endmacro()

rewind_require(xtensor libxtensor-dev)
rewind_require(xsimd libxsimd-dev)
rewind_require(fmt libfmt-dev)
rewind_require(nlohmann_json nlohmann-json3-dev)
if(REWIND_TESTS)
  rewind_require(doctest doctest-dev)
endif()
if(REWIND_EXAMPLES OR REWIND_BENCH)
  rewind_require(CLI11 libcli11-dev)
endif()

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)

# fmt without its library: core/format.cpp compiles it, once, into rewind::core.
add_library(rewind_fmt INTERFACE)
target_include_directories(rewind_fmt SYSTEM INTERFACE $<TARGET_PROPERTY:fmt::fmt,INTERFACE_INCLUDE_DIRECTORIES>)

# The project's own kinds of targets: libraries, programs, tests.

# Headers are included as <rewind/core/tensor.hpp>: the build tree gets that prefix from links, the installed tree has it.
set(rewind_include_dir ${PROJECT_BINARY_DIR}/include)
file(MAKE_DIRECTORY ${rewind_include_dir}/rewind)
foreach(entry core autograd nn optim train rewind.hpp)
  file(CREATE_LINK ${PROJECT_SOURCE_DIR}/${entry} ${rewind_include_dir}/rewind/${entry} SYMBOLIC)
endforeach()

# Flags of our own code only; nothing of this reaches a user's target.
function(rewind_compile_options target)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF POSITION_INDEPENDENT_CODE ON)
  target_compile_options(${target} PRIVATE -ffp-contract=off -Wall -Wextra -Wpedantic $<$<BOOL:${REWIND_WERROR}>:-Werror>
                                           $<$<CONFIG:Release>:-O2>)
  if(REWIND_SANITIZE)
    # g++ 12 sees uninitialised members in std::regex once it is instrumented; the release build has the warning on.
    set(flags -fsanitize=${REWIND_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -Wno-maybe-uninitialized)
    target_compile_options(${target} PRIVATE ${flags})
    target_link_options(${target} PRIVATE ${flags})
  endif()
endfunction()

# rewind_library(<folder> HEADERS <public>... [INTERNAL <headers>...] SOURCES <files>... [USES <folders>...] [PRIVATE_USES <targets>...])
# Makes rewind::<folder>. Third-party targets serve the build only: all of them are headers and nothing of them is in ours.
function(rewind_library folder)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "HEADERS;INTERNAL;SOURCES;USES;PRIVATE_USES")
  set(target rewind_${folder})
  add_library(${target} STATIC ${arg_INTERNAL} ${arg_SOURCES})
  add_library(rewind::${folder} ALIAS ${target})
  list(TRANSFORM arg_HEADERS PREPEND ${rewind_include_dir}/rewind/${folder}/)
  target_sources(${target} PUBLIC FILE_SET HEADERS BASE_DIRS ${rewind_include_dir} FILES ${arg_HEADERS})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${folder} VERIFY_INTERFACE_HEADER_SETS ${REWIND_TESTS})
  target_compile_features(${target} PUBLIC cxx_std_20)
  rewind_compile_options(${target})
  list(TRANSFORM arg_USES PREPEND rewind_)
  target_link_libraries(${target} PUBLIC ${arg_USES})
  foreach(use IN LISTS arg_PRIVATE_USES)
    target_include_directories(${target} SYSTEM PRIVATE $<TARGET_PROPERTY:${use},INTERFACE_INCLUDE_DIRECTORIES>)
  endforeach()
endfunction()

# rewind::rewind: everything, by <rewind/rewind.hpp>.
function(rewind_umbrella)
  add_library(rewind INTERFACE)
  add_library(rewind::rewind ALIAS rewind)
  target_sources(rewind INTERFACE FILE_SET HEADERS BASE_DIRS ${rewind_include_dir} FILES ${rewind_include_dir}/rewind/rewind.hpp)
  set_target_properties(rewind PROPERTIES VERIFY_INTERFACE_HEADER_SETS ${REWIND_TESTS})
  target_link_libraries(rewind INTERFACE rewind_core rewind_autograd rewind_nn rewind_optim rewind_train)
endfunction()

# rewind_program(<target> SOURCES <files>... USES <targets>...): an executable of this project.
function(rewind_program target)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;USES")
  add_executable(${target} ${arg_SOURCES})
  target_link_libraries(${target} PRIVATE ${arg_USES})
  target_compile_features(${target} PRIVATE cxx_std_20)
  rewind_compile_options(${target})
endfunction()

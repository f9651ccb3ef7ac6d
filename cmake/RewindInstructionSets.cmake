# Kernel files stand once per instruction set, core/isa/<kernel>_<set>.cpp, and only they get its flags: the set is chosen at run time.

if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  message(FATAL_ERROR "rewind: no kernels for the processor ${CMAKE_SYSTEM_PROCESSOR}: x86-64 is supported, with SSE2, AVX2+FMA or AVX-512")
endif()

set(rewind_flags_sse2 "")
set(rewind_flags_avx2 -mavx2 -mfma)
set(rewind_flags_avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512cd -mfma -mprefer-vector-width=512)

# Sets the flags of the given kernel files by their names. They are optimised in every build type: what is not inlined becomes a weak
# symbol, and the linker could then run another set's code on a processor that lacks it. tests/house/kernels_test.cpp looks. The source
# is the same for all sets, so the sanitizers look at one of them: with them a file takes minutes to compile.
function(rewind_kernel_sources)
  foreach(file IN LISTS ARGN)
    string(REGEX MATCH "_(sse2|avx2|avx512)\\.cpp$" match ${file})
    if(NOT match)
      message(FATAL_ERROR "rewind: ${file}: a kernel file's name ends in its instruction set: _sse2, _avx2 or _avx512.cpp")
    endif()
    set(set ${CMAKE_MATCH_1})
    set(options ${rewind_flags_${set}} -O2 -U_GLIBCXX_ASSERTIONS)
    if(REWIND_SANITIZE AND set STREQUAL "sse2")
      list(APPEND options -O1 -fno-sanitize=undefined)
    elseif(REWIND_SANITIZE)
      list(APPEND options -fno-sanitize=all)
    endif()
    set_source_files_properties(${file} PROPERTIES COMPILE_OPTIONS "${options}")
  endforeach()
endfunction()

// Other programs that help: xz measures how well a text compresses, gnuplot draws.
#pragma once

#include <rewind/core/dtype.hpp>
#include <string>
#include <vector>

namespace rw::train {

struct ProcessResult {
  int status = -1;          ///< exit status; 127 if the program is not there, 128 + n if signal n ended it
  Index output_bytes = 0;   ///< of its standard output
  std::string first_words;  ///< of its standard error, at most 500 bytes
};

/// Runs a program found by PATH, without a shell, standard input empty; its output is counted, not kept. SIGINT at the terminal does not
/// reach it. Throws IoError if no process can be made.
ProcessResult run_process(const std::vector<std::string>& command);

/// Bytes of `xz -9` of a file; -1 if there is no xz or it fails.
Index xz_bytes(const std::string& path);

}  // namespace rw::train

// What the house tests look at: the project's own files, whole or as code without comments and strings.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace house {

struct Source {
  std::string path;                // relative to the project's folder: "core/shape.cpp"
  std::vector<std::string> lines;  // as they stand
  std::vector<std::string> code;   // the same lines, comments and the contents of literals blanked
};

/// All .hpp and .cpp files under the given folders, sorted by path.
std::vector<Source> sources(const std::vector<std::string>& folders);

/// Those of core, autograd, nn, optim, train, examples, bench and tests.
const std::vector<Source>& all_sources();

/// The targets of the include lines: `<rewind/core/shape.hpp>`, `"support.hpp"`, with their brackets.
std::vector<std::string> includes(const Source& source);

/// The first folder of a path: "core/isa/x.cpp" -> "core".
std::string folder(const std::string& path);

/// The text of a file. Fails the test case if it cannot be read.
std::string text_of(const std::filesystem::path& path);

/// Blanks comments and the contents of string and character literals, so that positions stay.
std::vector<std::string> code_of(const std::vector<std::string>& lines);

}  // namespace house

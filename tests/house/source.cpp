#include "source.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cctype>
#include <fstream>
#include <sstream>

namespace house {

namespace fs = std::filesystem;

std::string text_of(const fs::path& path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  REQUIRE_MESSAGE(in.good(), "cannot read " << path.string());
  return text.str();
}

std::string folder(const std::string& path) { return path.substr(0, path.find('/')); }

std::vector<std::string> code_of(const std::vector<std::string>& lines) {
  std::vector<std::string> out;
  bool comment = false;  // inside /* */
  std::string raw;       // the end of the raw string that we are in
  for (auto line : lines) {
    if (line.find("#include") != std::string::npos && !comment && raw.empty()) {
      out.push_back(line);
      continue;
    }
    auto blank = [&](std::size_t begin, std::size_t end) {
      std::fill(line.begin() + static_cast<long>(begin), line.begin() + static_cast<long>(end), ' ');
    };
    for (std::size_t i = 0; i < line.size();) {
      if (comment || !raw.empty()) {
        const std::string closing = comment ? "*/" : raw;
        auto end = line.find(closing, i);
        blank(i, end == std::string::npos ? line.size() : end);
        if (end == std::string::npos) break;
        i = end + closing.size();
        comment = false;
        raw.clear();
      } else if (line.compare(i, 2, "//") == 0) {
        blank(i, line.size());
        break;
      } else if (line.compare(i, 2, "/*") == 0) {
        comment = true;
        i += 2;
      } else if (line.compare(i, 2, "R\"") == 0) {
        auto open = line.find('(', i);
        raw = ")" + line.substr(i + 2, open - i - 2) + "\"";
        i = open + 1;
      } else if (line[i] == '\'' && i > 0 && std::isalnum(static_cast<unsigned char>(line[i - 1]))) {
        ++i;  // a digit separator
      } else if (line[i] == '"' || line[i] == '\'') {
        auto end = i + 1;
        while (end < line.size() && line[end] != line[i]) end += line[end] == '\\' ? 2 : 1;
        end = std::min(end, line.size());
        blank(i + 1, end);
        i = end + 1;
      } else {
        ++i;
      }
    }
    out.push_back(line);
  }
  return out;
}

std::vector<Source> sources(const std::vector<std::string>& folders) {
  std::vector<Source> found;
  const fs::path root = REWIND_SOURCE_DIR;
  for (const auto& name : folders)
    for (const auto& entry : fs::recursive_directory_iterator(root / name)) {
      auto extension = entry.path().extension();
      if (!entry.is_regular_file() || (extension != ".hpp" && extension != ".cpp")) continue;
      Source source{fs::relative(entry.path(), root).generic_string(), {}, {}};
      std::istringstream text(text_of(entry.path()));
      for (std::string line; std::getline(text, line);) source.lines.push_back(line);
      source.code = code_of(source.lines);
      found.push_back(std::move(source));
    }
  std::sort(found.begin(), found.end(), [](const Source& a, const Source& b) { return a.path < b.path; });
  return found;
}

const std::vector<Source>& all_sources() {
  static const auto found = sources({"core", "autograd", "nn", "optim", "train", "examples", "bench", "tests"});
  return found;
}

std::vector<std::string> includes(const Source& source) {
  std::vector<std::string> found;
  for (const auto& line : source.code) {
    auto hash = line.find_first_not_of(' ');
    if (hash == std::string::npos || line.compare(hash, 8, "#include") != 0) continue;
    auto begin = line.find_first_of("<\"", hash);
    if (begin == std::string::npos) continue;
    auto end = line.find_first_of(">\"", begin + 1);
    if (end != std::string::npos) found.push_back(line.substr(begin, end - begin + 1));
  }
  return found;
}

}  // namespace house

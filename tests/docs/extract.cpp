// extract <page.md> <page.cpp>: turns the C++ blocks of a documentation page into a doctest source, one test case a block.
//
// A block is fenced by ```cpp, or by <!--cpp ... --> where readers shall not see it (what a hidden block says belongs to the next visible
// one). Code that is not meant to be compiled is fenced by any other word. #include and `namespace rw...` go to the file; `using
// namespace`, types, templates, inline functions and other namespaces to the page's namespace, where later blocks see them; the rest is the
// body of the test case, which runs in a folder that goes away. `int main()` is called. #line leads the compiler's messages back to the
// page.
#include <cctype>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

namespace {

struct Line {
  int number;
  std::string text;
};
using Lines = std::vector<Line>;

struct Block {
  std::string title;  // the heading above it
  Lines lines;
};

bool begins(const std::string& text, const char* prefix) { return text.rfind(prefix, 0) == 0; }

std::vector<Block> blocks_of(std::istream& page) {
  std::vector<Block> blocks;
  Block block;
  std::string text, heading = "page";
  enum { prose, visible, hidden, other } state = prose;
  for (int number = 1; std::getline(page, text); ++number) {
    if (state == prose) {
      if (text == "```cpp")
        state = visible;
      else if (text == "<!--cpp")
        state = hidden;
      else if (begins(text, "```"))
        state = other;
      else if (begins(text, "#"))
        heading = text.substr(text.find_first_not_of("# "));
    } else if (state == hidden ? text == "-->" : text == "```") {
      if (state == visible) {
        block.title = heading;
        blocks.push_back(std::move(block));
        block = {};
      }
      state = prose;
    } else if (state != other) {
      block.lines.push_back({number, text});
    }
  }
  if (state != prose) {
    std::cerr << "extract: a block is not closed at the end of the page\n";
    std::exit(1);
  }
  return blocks;
}

/// Whether a definition at namespace scope begins here; it ends where its braces are closed.
bool definition(const std::string& text) {
  for (const char* word : {"struct ", "class ", "enum ", "template ", "template<", "inline ", "namespace ", "int main("})
    if (begins(text, word)) return true;
  return false;
}

/// Follows the braces of a definition, line by line; true at its last line.
bool closes(const std::string& text, int& depth) {
  char last = 0, quote = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (quote != 0) {
      if (c == '\\') ++i;
      if (c == quote) quote = 0;
      continue;
    }
    if (c == '/' && text.compare(i, 2, "//") == 0) break;
    if (c == '"') quote = c;
    if (c == '{') ++depth;
    if (c == '}') --depth;
    if (std::isspace(static_cast<unsigned char>(c)) == 0) last = c;
  }
  return depth == 0 && (last == ';' || last == '}');
}

void write(std::ostream& out, const Lines& lines, const std::string& page) {
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (i == 0 || lines[i].number != lines[i - 1].number + 1) out << "#line " << lines[i].number << " \"" << page << "\"\n";
    out << lines[i].text << '\n';
  }
}

std::string escaped(const std::string& text) {
  std::string out;
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

void translate(std::istream& in, std::ostream& out, const std::string& path) {
  auto name = path.substr(path.find_last_of('/') + 1);
  std::string space = "page_";
  for (char c : name) space += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  out << "#include <doctest/doctest.h>\n#include <support.hpp>\n";
  int number = 0;
  for (const auto& block : blocks_of(in)) {
    Lines file, page, body;
    bool has_main = false;
    for (std::size_t i = 0; i < block.lines.size(); ++i) {
      const auto& line = block.lines[i];
      if (begins(line.text, "#include")) {
        file.push_back(line);
      } else if (begins(line.text, "using namespace ")) {
        page.push_back(line);
      } else if (definition(line.text)) {
        auto& target = begins(line.text, "namespace rw") ? file : page;
        has_main = has_main || begins(line.text, "int main(");
        for (int depth = 0;; ++i) {
          auto copy = block.lines[i];
          if (begins(copy.text, "int main(")) copy.text.replace(0, 8, "static int main_" + std::to_string(number));
          target.push_back(copy);
          if (closes(copy.text, depth) || i + 1 == block.lines.size()) break;
        }
      } else {
        body.push_back(line);
      }
    }
    write(out, file, path);
    out << "namespace " << space << " {\n";
    write(out, page, path);
    out << "TEST_CASE(\"" << escaped(name + ": " + block.title) << ", block " << ++number << "\") {\n  const rw::test::InScratch here;\n";
    if (has_main) out << "  CHECK(main_" << number - 1 << "() == 0);\n";
    write(out, body, path);
    out << "}\n}\n";
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "extract <page.md> <page.cpp>\n";
    return 2;
  }
  std::ifstream in(argv[1]);
  std::ofstream out(argv[2]);
  translate(in, out, argv[1]);
  out.flush();
  if (!in.eof() || !out) {
    std::cerr << "extract: cannot read " << argv[1] << " or write " << argv[2] << '\n';
    return 1;
  }
}

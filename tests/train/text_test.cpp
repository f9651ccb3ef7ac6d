#include <rewind/train/text.hpp>

#include <fstream>

#include "../support.hpp"

using namespace rw;
using namespace rw::train;
using test::error_text;

namespace {
std::vector<double> numbers(const Tensor& t) { return test::doubles(t); }
}  // namespace

TEST_CASE("vocabulary: sorted by code point, whatever the order in the text") {
  const Vocabulary v = Vocabulary::of(U"b\u20aca\U0001f600bba");
  CHECK(v.symbols() == U"ab\u20ac\U0001f600");
  CHECK(v.size() == 4);
  CHECK(v.find(U'\u20ac') == 2);
  CHECK(v.find(U'c') == -1);
  CHECK(numbers(v.encode("b\u20ac")) == std::vector<double>{1, 2});
  CHECK(v.decode(v.encode("a\U0001f600\u20acb")) == "a\U0001f600\u20acb");
  CHECK(v.encode("").size() == 0);
}

TEST_CASE("vocabulary: errors") {
  const Vocabulary v(U"ab");
  CHECK(error_text<ValueError>([&] { v.encode("abc", "--prompt"); }) ==
        "--prompt: symbol 'c' (U+0063) at place 2 is not in the vocabulary of 2 symbols (use symbols of the training text)");
  CHECK(error_text<ValueError>([&] { v.decode(2); }) == "decode: symbol 2 is not in 0 .. 1");
  CHECK(error_text<ValueError>([&] { v.decode(-1); }) == "decode: symbol -1 is not in 0 .. 1");
  CHECK(error_text<ValueError>([&] { Vocabulary(U"ba"); }) ==
        "vocabulary: symbols must ascend: 'b' (U+0062) stands before 'a' (U+0061) (sort them, each once)");
}

TEST_CASE("text: the held-out share stands at the end, and both parts make the whole") {
  const Text text = Text::of("abcabcabca", {.valid = 0.3});
  CHECK(text.size() == 10);
  CHECK(text.bytes() == 10);
  CHECK(text.train().size() == 7);
  CHECK(text.valid().size() == 3);
  CHECK(text.vocabulary().decode(text.train().symbols()) == "abcabca");
  CHECK(text.vocabulary().decode(text.valid().symbols()) == "bca");
  CHECK(text.fingerprint() == Text::of("abcabcabca", {.valid = 0.5}).fingerprint());
  CHECK(text.fingerprint() != Text::of("abcabcabcb", {.valid = 0.3}).fingerprint());
  CHECK(text.fingerprint().size() == 16);
}

TEST_CASE("text: a file of several bytes a symbol") {
  test::Scratch scratch;
  std::ofstream(scratch.file("t.txt")) << "\u03b1\u03b2\u03b3\u03b1\u03b2\u03b3\n";
  const Text text = Text::open(scratch.file("t.txt"), {.valid = 0.4});
  CHECK(text.size() == 7);
  CHECK(text.bytes() == 13);
  CHECK(text.vocabulary().symbols() == U"\n\u03b1\u03b2\u03b3");
}

TEST_CASE("text: errors name the file and what to do") {
  auto error = [](const std::string& bytes, double valid = 0.1) {
    return error_text<ValueError>([&] { Text::of(bytes, {.valid = valid}, "t.txt"); });
  };
  CHECK(error("") == "t.txt: the text is empty (give one of some thousand symbols)");
  CHECK(error("\xef\xbb\xbf") == "t.txt: the text is empty (give one of some thousand symbols)");
  CHECK(error("aaaa") ==
        "t.txt: one symbol only, 'a' (U+0061), 4 times: there is nothing to predict (give a text of two or more different symbols)");
  CHECK(error("a") ==
        "t.txt: one symbol only, 'a' (U+0061), 1 times: there is nothing to predict (give a text of two or more different symbols)");
  CHECK(
      error("abab") ==
      "t.txt: the text is too short: of 4 symbols, a held-out share of 0.1 leaves 3 to train on and 1 to validate (2 are needed in each)");
  CHECK(error("ab\xff") == "t.txt: not UTF-8: byte 0xff at offset 2 (convert the text, for example with iconv -t UTF-8)");
  CHECK(error("abcdef", 0) == "text: the share held out must lie between 0 and 1: got 0 (0.1 is usual)");
  CHECK(error("abcdef", 1) == "text: the share held out must lie between 0 and 1: got 1 (0.1 is usual)");
  CHECK(error("abcdef", NAN) == "text: the share held out must lie between 0 and 1: got nan (0.1 is usual)");
  CHECK_THROWS_AS(Text::open("/nonexistent/text"), IoError);
  CHECK_THROWS_AS(Text::open("/tmp"), IoError);
}

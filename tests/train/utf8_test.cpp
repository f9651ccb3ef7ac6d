#include <rewind/train/utf8.hpp>

#include "../support.hpp"

using namespace rw;
using namespace rw::train;
using test::error_text;
using namespace std::string_literals;

TEST_CASE("utf8: every code point comes back") {
  std::u32string all;
  for (char32_t c = 0; c <= 0x10ffff; ++c)
    if (c < 0xd800 || c > 0xdfff) all.push_back(c);
  CHECK(decode_utf8(encode_utf8(all), "all") == all);
}

TEST_CASE("utf8: NUL is a symbol, and a byte order mark counts only within the text") {
  CHECK(decode_utf8("a\0b"s, "t") == U"a\0b"s);
  CHECK(decode_utf8("\xef\xbb\xbf"s, "t").empty());
  CHECK(decode_utf8("\xef\xbb\xbf"
                    "a\xef\xbb\xbf",
                    "t") == U"a\ufeff");
}

TEST_CASE("utf8: what the standard forbids is refused with its offset") {
  auto error = [](const std::string& bytes) { return error_text<ValueError>([&] { decode_utf8(bytes, "t"); }); };
  auto invalid = [](const char* byte, int offset) {
    return "t: not UTF-8: byte 0x"s + byte + " at offset " + std::to_string(offset) +
           " (convert the text, for example with iconv -t UTF-8)";
  };
  CHECK(error("ab\x80") == invalid("80", 2));    // a continuation byte by itself
  CHECK(error("\xc0\xaf") == invalid("c0", 0));  // overlong
  CHECK(error("\xc1\xbf") == invalid("c1", 0));
  CHECK(error("x\xe0\x9f\xbf") == invalid("9f", 2));
  CHECK(error("\xf0\x8f\xbf\xbf") == invalid("8f", 1));
  CHECK(error("\xed\xa0\x80") == invalid("a0", 1));      // a surrogate
  CHECK(error("\xf4\x90\x80\x80") == invalid("90", 1));  // above U+10FFFF
  CHECK(error("\xf5\x80\x80\x80") == invalid("f5", 0));
  CHECK(error("\xff") == invalid("ff", 0));
  CHECK(error("\xe2\x82z") == invalid("7a", 2));  // cut short within the text
  CHECK(error("ab\xe2\x82") == "t: not UTF-8: it ends within the symbol that begins at offset 2 (is the file cut short?)");
}

TEST_CASE("utf8: symbols in messages") {
  CHECK(describe_symbol(U'a') == "'a' (U+0061)");
  CHECK(describe_symbol(U'\n') == "U+000A");
  CHECK(describe_symbol(U'\u20ac') == "'\u20ac' (U+20AC)");
}

#include <rewind/core/format.hpp>
#include <rewind/train/utf8.hpp>

namespace rw::train {

namespace {

using Byte = unsigned char;

/// Bytes of the sequence that begins with `first`, and the range its second byte must lie in (RFC 3629, section 4); 0 if none begins so.
struct Lead {
  int length;
  Byte low, high;
};

constexpr Lead lead(Byte first) {
  if (first < 0x80) return {1, 0, 0};
  if (first < 0xc2) return {0, 0, 0};
  if (first < 0xe0) return {2, 0x80, 0xbf};
  if (first == 0xe0) return {3, 0xa0, 0xbf};
  if (first == 0xed) return {3, 0x80, 0x9f};
  if (first < 0xf0) return {3, 0x80, 0xbf};
  if (first == 0xf0) return {4, 0x90, 0xbf};
  if (first < 0xf4) return {4, 0x80, 0xbf};
  if (first == 0xf4) return {4, 0x80, 0x8f};
  return {0, 0, 0};
}

}  // namespace

std::u32string decode_utf8(std::string_view bytes, const std::string& what) {
  std::u32string result;
  result.reserve(bytes.size());
  auto invalid = [&](std::size_t at) {
    fail<ValueError>("{}: not UTF-8: byte 0x{:02x} at offset {} (convert the text, for example with iconv -t UTF-8)", what,
                     static_cast<unsigned>(static_cast<Byte>(bytes[at])), at);
  };
  for (std::size_t i = 0; i < bytes.size();) {
    const Byte first = static_cast<Byte>(bytes[i]);
    const Lead shape = lead(first);
    if (shape.length == 0) invalid(i);
    char32_t symbol = shape.length == 1 ? first : first & (0x7fu >> shape.length);
    for (int k = 1; k < shape.length; ++k) {
      const std::size_t at = i + static_cast<std::size_t>(k);
      if (at == bytes.size())
        fail<ValueError>("{}: not UTF-8: it ends within the symbol that begins at offset {} (is the file cut short?)", what, i);
      const Byte next = static_cast<Byte>(bytes[at]), low = k == 1 ? shape.low : 0x80, high = k == 1 ? shape.high : 0xbf;
      if (next < low || next > high) invalid(at);
      symbol = symbol << 6 | (next & 0x3fu);
    }
    if (!(symbol == 0xfeff && i == 0)) result.push_back(symbol);
    i += static_cast<std::size_t>(shape.length);
  }
  return result;
}

std::string encode_utf8(char32_t c) {
  std::string out;
  auto byte = [&](char32_t value) { out.push_back(static_cast<char>(static_cast<Byte>(value))); };
  if (c < 0x80) {
    byte(c);
  } else if (c < 0x800) {
    byte(0xc0 | c >> 6), byte(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    byte(0xe0 | c >> 12), byte(0x80 | (c >> 6 & 0x3f)), byte(0x80 | (c & 0x3f));
  } else {
    byte(0xf0 | c >> 18), byte(0x80 | (c >> 12 & 0x3f)), byte(0x80 | (c >> 6 & 0x3f)), byte(0x80 | (c & 0x3f));
  }
  return out;
}

std::string encode_utf8(std::u32string_view symbols) {
  std::string out;
  out.reserve(symbols.size());
  for (char32_t c : symbols) out += encode_utf8(c);
  return out;
}

std::string describe_symbol(char32_t c) {
  const unsigned number = static_cast<unsigned>(c);
  if (c < 0x20 || (c >= 0x7f && c < 0xa0)) return fmt::format("U+{:04X}", number);
  return fmt::format("'{}' (U+{:04X})", encode_utf8(c), number);
}

}  // namespace rw::train

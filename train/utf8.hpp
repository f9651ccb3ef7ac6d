// UTF-8 (RFC 3629), read strictly: one code point a symbol.
#pragma once

#include <string>
#include <string_view>

namespace rw::train {

/// The code points of `bytes`; a byte order mark at the start is dropped, NUL is a symbol like any other. Throws ValueError naming `what`,
/// the byte and its offset for anything that RFC 3629 forbids: stray continuation bytes, sequences cut short, overlong forms, surrogates,
/// values above U+10FFFF.
std::u32string decode_utf8(std::string_view bytes, const std::string& what);

/// The UTF-8 of one code point, or of many.
std::string encode_utf8(char32_t symbol);
std::string encode_utf8(std::u32string_view symbols);

/// A symbol as messages show it: 'a' (U+0061); control characters by number alone: U+000A.
std::string describe_symbol(char32_t symbol);

}  // namespace rw::train

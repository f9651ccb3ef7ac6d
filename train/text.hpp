// Text as a row of symbols: one code point a symbol, numbered in the order of their code points.
#pragma once

#include <rewind/train/stream.hpp>
#include <string>
#include <string_view>

namespace rw::train {

/// The symbols of a text, sorted by code point; a symbol's number is its place.
class Vocabulary {
 public:
  Vocabulary() = default;
  /// Throws ValueError unless the code points ascend strictly.
  explicit Vocabulary(std::u32string symbols);
  /// All different symbols of a text.
  static Vocabulary of(std::u32string_view text);

  Index size() const { return static_cast<Index>(symbols_.size()); }
  const std::u32string& symbols() const { return symbols_; }
  /// Number of a symbol, -1 if it is not there.
  Index find(char32_t symbol) const;

  /// i32 [N]. Throws ValueError naming `what`, the symbol and its place, for one that the vocabulary lacks.
  Tensor encode(std::u32string_view text, const std::string& what = "encode") const;
  Tensor encode(std::string_view utf8, const std::string& what = "encode") const;
  /// UTF-8 of i32 [N]. Throws ValueError for a number outside 0 .. size()-1.
  std::string decode(const Tensor& symbols) const;
  std::string decode(Index symbol) const;

 private:
  std::u32string symbols_;
};

/// A part of a text, in order. Shares the text's memory.
class Passage {
 public:
  explicit Passage(const Tensor& symbols) : symbols_(symbols) {}
  const Tensor& symbols() const { return symbols_; }  ///< i32 [N]
  Index size() const { return symbols_.size(); }
  Stream stream(const StreamOptions& options) const { return Stream(symbols_, options); }

 private:
  Tensor symbols_;
};

struct TextOptions {
  double valid = 0.1;  ///< share of the symbols, at the text's end, that is held out for validation: 0 < valid < 1
};

/// A text and its two parts: what is trained on, and what is held out.
class Text {
 public:
  /// Reads a UTF-8 file. Throws IoError if it cannot be read; ValueError, naming the path, if it is not UTF-8, is empty, has one symbol
  /// only, or is too short for two symbols in either part.
  static Text open(const std::string& path, const TextOptions& options = {});
  /// The same from memory; `name` stands in messages.
  static Text of(std::string_view utf8, const TextOptions& options = {}, const std::string& name = "text");

  const Vocabulary& vocabulary() const { return vocabulary_; }
  Passage all() const { return Passage(symbols_); }
  Passage train() const { return Passage(symbols_.slice(0, 0, split_)); }
  Passage valid() const { return Passage(symbols_.slice(0, split_, symbols_.size())); }
  Index size() const { return symbols_.size(); }  ///< symbols
  Index bytes() const { return bytes_; }          ///< of the UTF-8
  /// FNV-1a of the bytes (64 bits, hexadecimal): tells whether a file is still the same.
  const std::string& fingerprint() const { return fingerprint_; }

 private:
  Text() = default;
  Vocabulary vocabulary_;
  Tensor symbols_;
  Index split_ = 0, bytes_ = 0;
  std::string fingerprint_;
};

}  // namespace rw::train

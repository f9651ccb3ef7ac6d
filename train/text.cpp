#include <rewind/core/format.hpp>
#include <rewind/core/safetensors.hpp>
#include <rewind/train/text.hpp>
#include <rewind/train/utf8.hpp>

#include <algorithm>
#include <vector>

namespace rw::train {

namespace {

std::string fnv1a(std::string_view bytes) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return fmt::format("{:016x}", hash);
}

}  // namespace

Vocabulary::Vocabulary(std::u32string symbols) : symbols_(std::move(symbols)) {
  for (std::size_t i = 1; i < symbols_.size(); ++i)
    if (symbols_[i - 1] >= symbols_[i])
      fail<ValueError>("vocabulary: symbols must ascend: {} stands before {} (sort them, each once)", describe_symbol(symbols_[i - 1]),
                       describe_symbol(symbols_[i]));
}

Vocabulary Vocabulary::of(std::u32string_view text) {
  std::vector<bool> seen(0x110000);
  for (char32_t c : text) seen[c] = true;
  std::u32string symbols;
  for (char32_t c = 0; c < seen.size(); ++c)
    if (seen[c]) symbols.push_back(c);
  return Vocabulary(std::move(symbols));
}

Index Vocabulary::find(char32_t symbol) const {
  const auto at = std::lower_bound(symbols_.begin(), symbols_.end(), symbol);
  return at != symbols_.end() && *at == symbol ? at - symbols_.begin() : -1;
}

Tensor Vocabulary::encode(std::u32string_view text, const std::string& what) const {
  Tensor result(Shape{text.size()}, DType::i32);
  std::int32_t* out = result.data<std::int32_t>();
  for (std::size_t i = 0; i < text.size(); ++i) {
    const Index number = find(text[i]);
    if (number < 0)
      fail<ValueError>("{}: symbol {} at place {} is not in the vocabulary of {} symbols (use symbols of the training text)", what,
                       describe_symbol(text[i]), i, size());
    out[i] = static_cast<std::int32_t>(number);
  }
  return result;
}

Tensor Vocabulary::encode(std::string_view utf8, const std::string& what) const { return encode(decode_utf8(utf8, what), what); }

std::string Vocabulary::decode(Index symbol) const {
  if (symbol < 0 || symbol >= size()) fail<ValueError>("decode: symbol {} is not in 0 .. {}", symbol, size() - 1);
  return encode_utf8(symbols_[static_cast<std::size_t>(symbol)]);
}

std::string Vocabulary::decode(const Tensor& symbols) const {
  const Tensor dense = symbols.contiguous();
  const std::int32_t* in = dense.data<std::int32_t>();
  std::string result;
  for (Index i = 0; i < dense.size(); ++i) result += decode(in[i]);
  return result;
}

Text Text::open(const std::string& path, const TextOptions& options) { return of(io::read_file(path), options, path); }

Text Text::of(std::string_view utf8, const TextOptions& options, const std::string& name) {
  if (!(options.valid > 0 && options.valid < 1))
    fail<ValueError>("text: the share held out must lie between 0 and 1: got {} (0.1 is usual)", options.valid);
  const std::u32string symbols = decode_utf8(utf8, name);
  const Index n = static_cast<Index>(symbols.size());
  if (n == 0) fail<ValueError>("{}: the text is empty (give one of some thousand symbols)", name);
  Text text;
  text.vocabulary_ = Vocabulary::of(symbols);
  if (text.vocabulary_.size() == 1)
    fail<ValueError>("{}: one symbol only, {}, {} times: there is nothing to predict (give a text of two or more different symbols)", name,
                     describe_symbol(symbols[0]), n);
  text.split_ = static_cast<Index>((1 - options.valid) * static_cast<double>(n));
  if (text.split_ < 2 || n - text.split_ < 2)
    fail<ValueError>(
        "{}: the text is too short: of {} symbols, a held-out share of {} leaves {} to train on and {} to validate (2 are needed in each)",
        name, n, options.valid, text.split_, n - text.split_);
  text.symbols_ = text.vocabulary_.encode(symbols, name);
  text.bytes_ = static_cast<Index>(utf8.size());
  text.fingerprint_ = fnv1a(utf8);
  return text;
}

}  // namespace rw::train

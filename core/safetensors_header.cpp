#include <nlohmann/json.hpp>
#include <rewind/core/format.hpp>
#include <rewind/core/safetensors_header.hpp>

#include <algorithm>
#include <iterator>
#include <set>

namespace rw::io {

std::string printable(const std::string& name) {
  constexpr std::size_t longest = 60;
  std::string result = name.substr(0, longest);
  while (result.size() < name.size() && !result.empty() && (static_cast<unsigned char>(name[result.size()]) & 0xC0) == 0x80)
    result.pop_back();
  for (char& c : result)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = '?';
  return result.size() < name.size() ? result + "..." : result;
}

namespace {

// What a file says of a tensor, before it is checked.
struct Raw {
  std::string name, dtype;
  std::vector<std::uint64_t> shape, offsets;
};

// Takes exactly {"name": {"dtype": string, "shape": [n..], "data_offsets": [n, n]}, "__metadata__": {"k": "v"}}; all else is refused at
// the first token that does not fit, so nothing deep or large is ever built.
class Handler : public nlohmann::json_sax<nlohmann::json> {
 public:
  std::vector<Raw> tensors;
  Metadata metadata;
  std::string error;

  bool null() override { return unexpected("null"); }
  bool boolean(bool) override { return unexpected("a boolean"); }
  bool number_integer(number_integer_t) override { return unexpected("a negative number"); }
  bool number_float(number_float_t, const string_t&) override { return unexpected("a number that is not an integer below 2^64"); }
  bool binary(binary_t&) override { return unexpected("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ == Place::shape) return raw().shape.push_back(value), true;
    if (place_ == Place::offsets) return raw().offsets.push_back(value), true;
    return unexpected("a number");
  }

  bool string(string_t& value) override {
    if (place_ == Place::metadata) return metadata[key_] = value, true;
    if (place_ == Place::tensor && key_ == "dtype") return raw().dtype = value, true;
    return unexpected("a string");
  }

  bool start_object(std::size_t) override {
    if (place_ == Place::outside) return enter(Place::root);
    if (place_ == Place::root && key_ == "__metadata__") return enter(Place::metadata);
    if (place_ == Place::root) {
      tensors.push_back({key_, {}, {}, {}});
      return enter(Place::tensor);
    }
    return unexpected("an object");
  }

  bool end_object() override {
    if (place_ == Place::tensor)
      for (const char* field : {"dtype", "shape", "data_offsets"})
        if (!fields_.count(field)) return refuse(fmt::format("tensor {} has no {}", printable(raw().name), field));
    place_ = place_ == Place::root ? Place::outside : Place::root;
    return true;
  }

  bool start_array(std::size_t) override {
    if (place_ == Place::tensor && key_ == "shape") return enter(Place::shape);
    if (place_ == Place::tensor && key_ == "data_offsets") return enter(Place::offsets);
    return unexpected("an array");
  }

  bool end_array() override {
    place_ = Place::tensor;
    return true;
  }

  bool key(string_t& name) override {
    if (place_ == Place::root) {
      if (!names_.insert(name).second) return refuse(fmt::format("the name {} stands twice in the header", printable(name)));
      fields_.clear();
    } else if (place_ == Place::metadata) {
      if (metadata.count(name)) return refuse(fmt::format("the key {} stands twice in __metadata__", printable(name)));
    } else {
      if (name != "dtype" && name != "shape" && name != "data_offsets")
        return refuse(
            fmt::format("tensor {} has a field {} (dtype, shape and data_offsets are known)", printable(raw().name), printable(name)));
      if (!fields_.insert(name).second) return refuse(fmt::format("tensor {} has the field {} twice", printable(raw().name), name));
    }
    key_ = name;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    return refuse(fmt::format("the header is not JSON from its byte {} on", position));
  }

 private:
  enum class Place { outside, root, metadata, tensor, shape, offsets };
  Raw& raw() { return tensors.back(); }
  bool enter(Place place) {
    place_ = place;
    return true;
  }
  bool refuse(std::string what) {
    if (error.empty()) error = std::move(what);
    return false;
  }
  bool unexpected(const char* what) {
    switch (place_) {
      case Place::outside: return refuse(fmt::format("the header is {}, it must be an object", what));
      case Place::root:
        return refuse(fmt::format("{} is {}, it must be an object", key_ == "__metadata__" ? key_ : "tensor " + printable(key_), what));
      case Place::metadata: return refuse(fmt::format("{} in __metadata__ is {}, it must be a string", printable(key_), what));
      default: break;
    }
    const char* must = key_ == "dtype" ? "a string" : "an array of integers >= 0";
    const char* in = place_ == Place::tensor ? "is" : "holds";
    return refuse(fmt::format("{} of tensor {} {} {}, it must be {}", key_, printable(raw().name), in, what, must));
  }

  Place place_ = Place::outside;
  std::string key_;
  std::set<std::string> names_, fields_;
};

struct Known {
  const char* name;
  DType dtype;
};
constexpr Known known[] = {{"F32", DType::f32}, {"F64", DType::f64}, {"I32", DType::i32}, {"I64", DType::i64}, {"BOOL", DType::boolean}};

class Checker {
 public:
  explicit Checker(const std::string& path) : path_(path) {}

  TensorEntry entry(const Raw& raw) const {
    TensorEntry result;
    result.name = raw.name;
    std::string name = printable(raw.name);
    auto* found = std::find_if(std::begin(known), std::end(known), [&](const Known& k) { return raw.dtype == k.name; });
    if (found == std::end(known))
      broken(fmt::format("tensor {} has dtype {}, which is not supported (F32, F64, I32, I64 and BOOL are; convert it when saving)", name,
                         printable(raw.dtype)));
    result.dtype = found->dtype;
    if (raw.shape.size() > max_rank)
      broken(fmt::format("tensor {} has {} axes (at most {} are supported)", name, raw.shape.size(), max_rank));
    Index bytes = size_of(result.dtype);
    for (std::uint64_t extent : raw.shape) {
      result.shape.push_back(static_cast<Index>(extent));
      bool overflow = extent > static_cast<std::uint64_t>(INT64_MAX) ||
                      __builtin_mul_overflow(bytes, static_cast<Index>(std::max<std::uint64_t>(extent, 1)), &bytes);
      if (overflow) broken(fmt::format("tensor {} has a shape of more bytes than 63 bits can count", name));
    }
    bytes = result.shape.size() * size_of(result.dtype);
    if (raw.offsets.size() != 2)
      broken(fmt::format("data_offsets of tensor {} holds {} numbers, it must hold 2", name, raw.offsets.size()));
    std::uint64_t begin = raw.offsets[0], end = raw.offsets[1];
    if (begin > end || end > static_cast<std::uint64_t>(INT64_MAX))
      broken(fmt::format("data_offsets of tensor {} are not a range: [{}, {}]", name, begin, end));
    if (end - begin != static_cast<std::uint64_t>(bytes))
      broken(fmt::format("tensor {} of shape {} and dtype {} needs {} bytes, its data_offsets [{}, {}] hold {}", name, result.shape,
                         raw.dtype, bytes, begin, end, end - begin));
    result.begin = static_cast<Index>(begin);
    result.end = static_cast<Index>(end);
    return result;
  }

  void tiling(const std::vector<TensorEntry>& entries, Index bytes) const {
    Index at = 0;
    for (const TensorEntry& e : entries) {
      if (e.begin != at)
        broken(fmt::format(
            "tensor {} begins at byte {} of the data, {} (tensors must follow each other)", printable(e.name), e.begin,
            e.begin < at ? fmt::format("inside the one before, which ends at {}", at) : fmt::format("after a gap from byte {} on", at)));
      at = e.end;
    }
    if (at != bytes)
      broken(fmt::format("the header describes {} bytes of data, the file has {} ({})", at, bytes,
                         at > bytes ? "truncated? copy it again" : "something was appended"));
  }

  [[noreturn]] void broken(const std::string& what) const { fail<IoError>("safetensors: {}: {}", path_, what); }

 private:
  const std::string& path_;
};

}  // namespace

SafetensorsHeader parse_header(const std::string& path, const std::string& text, Index bytes) {
  Checker check(path);
  if (text.empty() || text[0] != '{') check.broken("the header does not begin with '{' (not a safetensors file?)");
  auto zero = text.find('\0');
  if (zero != std::string::npos) check.broken(fmt::format("the header is not JSON from its byte {} on", zero + 1));
  Handler handler;
  if (!nlohmann::json::sax_parse(text, &handler)) check.broken(handler.error);
  SafetensorsHeader header;
  header.metadata = std::move(handler.metadata);
  for (const Raw& raw : handler.tensors) header.entries.push_back(check.entry(raw));
  std::stable_sort(header.entries.begin(), header.entries.end(),
                   [](const TensorEntry& a, const TensorEntry& b) { return a.begin != b.begin ? a.begin < b.begin : a.end < b.end; });
  check.tiling(header.entries, bytes);
  return header;
}

}  // namespace rw::io

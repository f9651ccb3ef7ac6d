#include <nlohmann/json.hpp>
#include <rewind/core/files.hpp>
#include <rewind/core/format.hpp>
#include <rewind/core/safetensors.hpp>
#include <rewind/core/safetensors_header.hpp>

#include <algorithm>
#include <bit>
#include <cstring>

namespace rw::io {

static_assert(std::endian::native == std::endian::little, "the format is little-endian, and so are tensors in memory");

namespace {

constexpr std::uint64_t longest_header = 100'000'000;

const char* format_name(DType dtype) {
  constexpr const char* names[] = {"F32", "F64", "I32", "I64", "BOOL"};
  return names[static_cast<int>(dtype)];
}

std::string quoted(const std::string& text) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {
    fail<ValueError>("save: a name or its metadata is not UTF-8: got {}", printable(text));
  }
}

// Most strictly aligned elements first, so that every tensor is aligned; names decide among equals.
std::vector<const NamedTensors::value_type*> in_order(const NamedTensors& tensors) {
  std::vector<const NamedTensors::value_type*> order;
  for (auto& entry : tensors) order.push_back(&entry);
  std::sort(order.begin(), order.end(), [](auto* a, auto* b) {
    Index x = size_of(a->second.dtype()), y = size_of(b->second.dtype());
    return x != y ? x > y : a->first < b->first;
  });
  return order;
}

void check_names(const NamedTensors& tensors) {
  std::vector<std::string> names;
  for (auto& [name, tensor] : tensors) names.push_back(name);
  std::sort(names.begin(), names.end());
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i] == "__metadata__") fail<ValueError>("save: the name __metadata__ belongs to the format (choose another)");
    if (i > 0 && names[i] == names[i - 1]) fail<ValueError>("save: two tensors have the name {} (names must differ)", printable(names[i]));
  }
}

}  // namespace

void save_safetensors(const std::string& path, const NamedTensors& tensors, const Metadata& metadata) {
  check_names(tensors);
  auto order = in_order(tensors);
  std::string header = "{";
  if (!metadata.empty()) {
    header += "\"__metadata__\":{";
    for (auto& [key, value] : metadata) header += quoted(key) + ":" + quoted(value) + ",";
    header.back() = '}';
    header += ",";
  }
  Index at = 0;
  for (auto* entry : order) {
    auto& [name, tensor] = *entry;
    std::string shape;
    for (Index extent : tensor.shape()) shape += (shape.empty() ? "" : ",") + std::to_string(extent);
    header += fmt::format("{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}},", quoted(name), format_name(tensor.dtype()),
                          shape, at, at + tensor.bytes());
    at += tensor.bytes();
  }
  if (header.size() > 1) header.pop_back();
  header += '}';
  header.resize((header.size() + 7) / 8 * 8, ' ');
  if (header.size() > longest_header)
    fail<ValueError>("save: the header needs {} bytes (the format allows {}; shorten names or metadata)", header.size(), longest_header);

  AtomicFile file(path);
  auto length = static_cast<std::uint64_t>(header.size());
  file.write(&length, sizeof length);
  file.write(header.data(), static_cast<Index>(header.size()));
  for (auto* entry : order) {
    Tensor dense = entry->second.contiguous();
    file.write(dense.view().data, dense.bytes());
  }
  file.commit();
}

SafetensorsFile load_safetensors(const std::string& path) {
  InputFile file("safetensors", path);
  std::uint64_t length = 0;
  if (file.size() < 8)
    fail<IoError>("safetensors: {}: the file has {} bytes, fewer than the 8 of the header's length (truncated, or not a safetensors file?)",
                  path, file.size());
  file.read(&length, 8);
  if (length > longest_header)
    fail<IoError>("safetensors: {}: the header claims {} bytes, more than the {} that the format allows (not a safetensors file?)", path,
                  length, longest_header);
  Index rest = file.size() - 8 - static_cast<Index>(length);
  if (rest < 0)
    fail<IoError>("safetensors: {}: the header claims {} bytes, the file has {} after its length (truncated? copy it again)", path, length,
                  file.size() - 8);
  std::string text(length, '\0');
  file.read(text.data(), static_cast<Index>(length));

  SafetensorsHeader header = parse_header(path, text, rest);
  SafetensorsFile result;
  result.metadata = std::move(header.metadata);
  for (TensorEntry& e : header.entries) {
    Tensor tensor(e.shape, e.dtype);
    View view = tensor.view();
    file.read(view.data, tensor.bytes());
    if (e.dtype == DType::boolean) {
      auto* bytes = static_cast<const unsigned char*>(view.data);
      auto* odd = std::find_if(bytes, bytes + tensor.size(), [](unsigned char b) { return b > 1; });
      if (odd != bytes + tensor.size())
        fail<IoError>("safetensors: {}: tensor {} of dtype BOOL holds a byte {} (only 0 and 1 are booleans)", path, printable(e.name),
                      *odd);
    }
    result.tensors.emplace_back(std::move(e.name), std::move(tensor));
  }
  return result;
}

}  // namespace rw::io

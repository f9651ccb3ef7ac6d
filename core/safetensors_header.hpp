// The JSON header of a safetensors file, parsed strictly and checked against the bytes behind it.
#pragma once

#include <rewind/core/safetensors.hpp>

namespace rw::io {

struct TensorEntry {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  Index begin = 0, end = 0;  ///< bytes, counted from the end of the header
};

struct SafetensorsHeader {
  std::vector<TensorEntry> entries;  ///< by offset; they tile the bytes without gap or overlap
  Metadata metadata;
};

/// Throws IoError beginning "safetensors: path: " for everything that is not as it must be. `bytes` is what follows the header.
SafetensorsHeader parse_header(const std::string& path, const std::string& text, Index bytes);

/// A name from a file, fit to be printed: control characters replaced, at most 60 bytes.
std::string printable(const std::string& name);

}  // namespace rw::io

// The safetensors file format, read strictly.
#pragma once

#include <map>
#include <rewind/core/tensor.hpp>
#include <string>
#include <utility>
#include <vector>

namespace rw::io {

using NamedTensors = std::vector<std::pair<std::string, Tensor>>;
using Metadata = std::map<std::string, std::string>;

/// Writes all tensors (dense, f32 f64 i32 i64 bool) to one file, atomically: a temporary file in the same folder, fsync, rename,
/// fsync the folder. Names must differ (ValueError). Throws IoError with the path and the system's reason; the old file is whole.
void save_safetensors(const std::string& path, const NamedTensors& tensors, const Metadata& metadata = {{"format", "pt"}});

struct SafetensorsFile {
  NamedTensors tensors;  ///< in the order of their bytes
  Metadata metadata;
};

/// Reads a whole file. Throws IoError, saying what is broken and where, for anything that the format does not allow: a header longer
/// than 100,000,000 bytes or than the file, JSON that is not strict, repeated names, unknown dtypes, negative or overflowing
/// shapes, offsets that overlap or leave gaps, a file that is too short or too long.
SafetensorsFile load_safetensors(const std::string& path);

/// Writes `bytes` to `path` atomically, as save_safetensors does.
void write_file(const std::string& path, const std::string& bytes);
std::string read_file(const std::string& path);

}  // namespace rw::io

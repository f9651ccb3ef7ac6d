// Whole files, written atomically and read with worded errors.
#pragma once

#include <rewind/core/dtype.hpp>
#include <string>

namespace rw::io {

/// A file that appears under its name whole or not at all: bytes go to a temporary file in the same folder; commit() flushes it to the
/// disk, renames it and flushes the folder. Without commit() the temporary file is removed. A link is followed.
/// Throws IoError with the path and the system's reason; also if the path names something that is not a regular file.
class AtomicFile {
 public:
  explicit AtomicFile(const std::string& path);
  AtomicFile(const AtomicFile&) = delete;
  ~AtomicFile();
  void write(const void* data, Index bytes);
  void commit();

 private:
  [[noreturn]] void failed(const char* what) const;
  std::string path_, target_, temporary_;
  int descriptor_ = -1;
};

/// An open file of known size. Throws IoError with the path; `op` begins the message.
class InputFile {
 public:
  InputFile(const char* op, const std::string& path);
  InputFile(const InputFile&) = delete;
  ~InputFile();
  Index size() const { return size_; }
  /// The next bytes; throws if the file ends before.
  void read(void* data, Index bytes);

 private:
  const char* op_;
  std::string path_;
  int descriptor_ = -1;
  Index size_ = 0;
};

}  // namespace rw::io

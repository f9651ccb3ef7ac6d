#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <rewind/core/files.hpp>
#include <rewind/core/format.hpp>
#include <rewind/core/safetensors.hpp>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace rw::io {

namespace {

std::string folder_of(const std::string& path) {
  auto slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

const char* reason() { return std::strerror(errno); }

}  // namespace

AtomicFile::AtomicFile(const std::string& path) : path_(path), target_(path) {
  char real[PATH_MAX];
  if (::realpath(path.c_str(), real)) {
    target_ = real;
    struct stat status {};
    if (::stat(real, &status) == 0 && !S_ISREG(status.st_mode)) fail<IoError>("write: {}: not a regular file (choose another name)", path);
  }
  static std::atomic<unsigned> number{0};
  temporary_ = fmt::format("{}/.rewind-{}-{}.tmp", folder_of(target_), ::getpid(), number++);
  descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor_ < 0)
    fail<IoError>("write: {}: cannot create a file in its folder: {} (the folder must exist and be writable)", path, reason());
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::failed(const char* what) const {
  fail<IoError>("write: {}: {}: {} (nothing was changed; is the disk full?)", path_, what, reason());
}

void AtomicFile::write(const void* data, Index bytes) {
  auto* from = static_cast<const char*>(data);
  while (bytes > 0) {
    ssize_t written = ::write(descriptor_, from, static_cast<std::size_t>(bytes));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) failed("cannot write");
    from += written;
    bytes -= written;
  }
}

void AtomicFile::commit() {
  if (::fsync(descriptor_) != 0) failed("cannot flush to the disk");
  int closed = ::close(std::exchange(descriptor_, -1));
  if (closed != 0) failed("cannot close");
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) failed("cannot rename the finished file");
  temporary_.clear();
  int folder = ::open(folder_of(target_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder >= 0) {
    ::fsync(folder);  // file systems that cannot do it say so; the file is in place all the same
    ::close(folder);
  }
}

InputFile::InputFile(const char* op, const std::string& path) : op_(op), path_(path) {
  descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor_ < 0) fail<IoError>("{}: {}: cannot open: {} (is the name right?)", op, path, reason());
  struct stat status {};
  bool regular = ::fstat(descriptor_, &status) == 0 && S_ISREG(status.st_mode);
  size_ = static_cast<Index>(status.st_size);
  if (!regular) {
    ::close(descriptor_);
    fail<IoError>("{}: {}: not a regular file (a folder or a device?)", op, path);
  }
}

InputFile::~InputFile() { ::close(descriptor_); }

void InputFile::read(void* data, Index bytes) {
  auto* to = static_cast<char*>(data);
  while (bytes > 0) {
    ssize_t count = ::read(descriptor_, to, static_cast<std::size_t>(bytes));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail<IoError>("{}: {}: cannot read: {}", op_, path_, reason());
    if (count == 0) fail<IoError>("{}: {}: the file ended while it was read, {} bytes early (is something writing it?)", op_, path_, bytes);
    to += count;
    bytes -= count;
  }
}

void write_file(const std::string& path, const std::string& bytes) {
  AtomicFile file(path);
  file.write(bytes.data(), static_cast<Index>(bytes.size()));
  file.commit();
}

std::string read_file(const std::string& path) {
  InputFile file("read", path);
  std::string bytes(static_cast<std::size_t>(file.size()), '\0');
  file.read(bytes.data(), file.size());
  return bytes;
}

}  // namespace rw::io

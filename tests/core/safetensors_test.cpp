#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <rewind/core/safetensors.hpp>
#include <rewind/core/safetensors_header.hpp>
#include <rewind/tests/support.hpp>

#include <cstring>

using namespace rw;
using namespace rw::test;

namespace {

std::string with_length(const std::string& header, std::uint64_t length) {
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes + header;
}
std::string with_length(const std::string& header) { return with_length(header, header.size()); }

int files_in(const std::string& folder) {
  int count = 0;
  DIR* dir = ::opendir(folder.c_str());
  REQUIRE(dir != nullptr);
  while (const dirent* entry = ::readdir(dir)) count += entry->d_name[0] != '.' || std::strlen(entry->d_name) > 2;
  ::closedir(dir);
  return count;
}

// Files longer than `bytes` cannot be written while it lives, as on a full disk.
class FullDisk {
 public:
  explicit FullDisk(rlim_t bytes) {
    handler_ = ::signal(SIGXFSZ, SIG_IGN);
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &before_) == 0);
    rlimit limit{bytes, before_.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &limit) == 0);
  }
  ~FullDisk() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    ::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  void (*handler_)(int) = nullptr;
};

io::NamedTensors sample() {
  return {{"b", Tensor::of<float>({2, 2}, {1, 2, 3, 4}).transpose()},
          {"mask", Tensor::of<bool>({3}, {true, false, true})},
          {"a", Tensor::of<std::int64_t>({2}, {-1, std::int64_t{1} << 40})},
          {"none", Tensor(Shape{0, 5}, DType::f64)},
          {"s", Tensor::scalar(2.5)},
          {"i", Tensor::of<std::int32_t>({1}, {-7})}};
}

}  // namespace

// The vector of the format's own tests: attn.0, F32, [1,2,3], 0 to 5.
TEST_CASE("safetensors: the published file, byte for byte, both ways") {
  std::string expected = with_length(R"({"attn.0":{"dtype":"F32","shape":[1,2,3],"data_offsets":[0,24]}})");
  CHECK(expected[0] == 0x40);
  for (float f : {0.f, 1.f, 2.f, 3.f, 4.f, 5.f}) expected.append(reinterpret_cast<const char*>(&f), 4);
  Scratch scratch;
  std::string path = scratch.file("a.safetensors");
  io::save_safetensors(path, {{"attn.0", Tensor::arange(6, DType::f32).reshape({1, 2, 3})}}, {});
  CHECK(io::read_file(path) == expected);
  io::write_file(path, expected);
  auto file = io::load_safetensors(path);
  REQUIRE(file.tensors.size() == 1);
  CHECK(file.tensors[0].first == "attn.0");
  CHECK(identical(file.tensors[0].second, Tensor::arange(6, DType::f32).reshape({1, 2, 3})));
  CHECK(file.metadata.empty());
}

TEST_CASE("safetensors: every dtype, rank 0, no elements, strided sources, names and metadata come back") {
  Scratch scratch;
  std::string path = scratch.file("a");
  io::Metadata metadata = {{"format", "pt"}, {"note", "line\n\"quoted\" \xC3\xA9"}, {"empty", ""}};
  io::NamedTensors tensors = sample();
  tensors.emplace_back("name \"\\\n\xE2\x82\xAC", Tensor::scalar(1.f));
  tensors.emplace_back("", Tensor::scalar(2.f));
  io::save_safetensors(path, tensors, metadata);
  auto file = io::load_safetensors(path);
  CHECK(file.metadata == metadata);
  CHECK(file.tensors.size() == tensors.size());
  for (auto& [name, tensor] : tensors) {
    bool found = false;
    for (auto& [other, value] : file.tensors)
      if (other == name) found = identical(value, tensor);
    CHECK_MESSAGE(found, name);
  }
}

TEST_CASE("safetensors: most aligned elements first, then by name; header padded to 8; pt by default") {
  Scratch scratch;
  std::string path = scratch.file("a");
  io::save_safetensors(path, sample());
  std::string bytes = io::read_file(path);
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  CHECK(length % 8 == 0);
  std::string header = bytes.substr(8, length);
  CHECK(header.substr(0, header.find_last_not_of(' ') + 1) ==
        R"({"__metadata__":{"format":"pt"},"a":{"dtype":"I64","shape":[2],"data_offsets":[0,16]},)"
        R"("none":{"dtype":"F64","shape":[0,5],"data_offsets":[16,16]},"s":{"dtype":"F64","shape":[],"data_offsets":[16,24]},)"
        R"("b":{"dtype":"F32","shape":[2,2],"data_offsets":[24,40]},"i":{"dtype":"I32","shape":[1],"data_offsets":[40,44]},)"
        R"("mask":{"dtype":"BOOL","shape":[3],"data_offsets":[44,47]}})");
  CHECK(bytes.size() == 8 + length + 47);
  std::string order;
  for (auto& [name, tensor] : io::load_safetensors(path).tensors) order += name + " ";
  CHECK(order == "a none s b i mask ");
}

TEST_CASE("safetensors: an empty file of tensors") {
  Scratch scratch;
  io::save_safetensors(scratch.file("a"), {}, {});
  CHECK(io::read_file(scratch.file("a")) == with_length("{}      "));
  CHECK(io::load_safetensors(scratch.file("a")).tensors.empty());
  io::save_safetensors(scratch.file("a"), {});
  CHECK(io::load_safetensors(scratch.file("a")).metadata == io::Metadata{{"format", "pt"}});
}

TEST_CASE("safetensors: any order in the header, spaces around, no metadata") {
  Scratch scratch;
  std::string path = scratch.file("a");
  std::string header =
      "{ \"x\" : {\"data_offsets\":[4,8], \"shape\":[1],\n \"dtype\":\"I32\"} , "
      "\"y\":{\"dtype\":\"BOOL\",\"shape\":[4],\"data_offsets\":[0,4]}}   \n";
  io::write_file(path, with_length(header) + std::string("\1\0\0\1\5\0\0\0", 8));
  auto file = io::load_safetensors(path);
  REQUIRE(file.tensors.size() == 2);
  CHECK(file.tensors[0].first == "y");
  CHECK(file.tensors[1].second.item<std::int32_t>() == 5);
}

TEST_CASE("safetensors: files that are not as they must be, each with its words") {
  struct Case {
    std::string bytes, words;
  };
  auto header = [](const std::string& text, int data = 0) { return with_length(text) + std::string(static_cast<std::size_t>(data), '\0'); };
  auto one = [&](const std::string& fields, int data = 4) { return header("{\"a\":{" + fields + "}}", data); };
  const std::string i32 = R"("dtype":"I32",)", good = R"({"dtype":"I32","shape":[1],"data_offsets":[0,4]})";
  std::string nested = "{\"a\":" + std::string(100000, '[') + std::string(100000, ']') + "}";
  const Case cases[] = {
      {"", "the file has 0 bytes, fewer than the 8 of the header's length (truncated, or not a safetensors file?)"},
      {"1234567", "the file has 7 bytes, fewer than the 8 of the header's length (truncated, or not a safetensors file?)"},
      {with_length("", 100000001),
       "the header claims 100000001 bytes, more than the 100000000 that the format allows (not a safetensors file?)"},
      {with_length("{}", ~std::uint64_t{0}),
       "the header claims 18446744073709551615 bytes, more than the 100000000 that the format allows (not a safetensors file?)"},
      {with_length("{}", 3), "the header claims 3 bytes, the file has 2 after its length (truncated? copy it again)"},
      {with_length("", 0), "the header does not begin with '{' (not a safetensors file?)"},
      {header(" {}"), "the header does not begin with '{' (not a safetensors file?)"},
      {header("[]"), "the header does not begin with '{' (not a safetensors file?)"},
      {header("{"), "the header is not JSON from its byte 2 on"},
      {header("{}{}"), "the header is not JSON from its byte 3 on"},
      {header("{} x"), "the header is not JSON from its byte 4 on"},
      {header(std::string("{}\0\0", 4)), "the header is not JSON from its byte 3 on"},
      {header("{'a':1}"), "the header is not JSON from its byte 2 on"},
      {header("{/**/}"), "the header is not JSON from its byte 2 on"},
      {header("{\"\xFF\":1}"), "the header is not JSON from its byte 3 on"},
      {header("{\"a\":" + good + ",}", 4), "the header is not JSON from its byte 55 on"},
      {header("{\"a\":1}"), "tensor a is a number, it must be an object"},
      {header("{\"a\":null}"), "tensor a is null, it must be an object"},
      {header("{\"a\":\"x\"}"), "tensor a is a string, it must be an object"},
      {header(nested), "tensor a is an array, it must be an object"},
      {header("{\"a\":" + good + ",\"a\":" + good + "}", 4), "the name a stands twice in the header"},
      {header(R"({"__metadata__":1})"), "__metadata__ is a number, it must be an object"},
      {header(R"({"__metadata__":{"k":1}})"), "k in __metadata__ is a number, it must be a string"},
      {header(R"({"__metadata__":{"k":{"l":"m"}}})"), "k in __metadata__ is an object, it must be a string"},
      {header(R"({"__metadata__":{"k":"1","k":"2"}})"), "the key k stands twice in __metadata__"},
      {header(R"({"__metadata__":{},"__metadata__":{}})"), "the name __metadata__ stands twice in the header"},
      {one(""), "tensor a has no dtype"},
      {one(i32 + R"("data_offsets":[0,4])"), "tensor a has no shape"},
      {one(i32 + R"("shape":[1])"), "tensor a has no data_offsets"},
      {one(i32 + R"("dtype":"I32","shape":[1],"data_offsets":[0,4])"), "tensor a has the field dtype twice"},
      {one(i32 + R"("shape":[1],"data_offsets":[0,4],"x":1)"), "tensor a has a field x (dtype, shape and data_offsets are known)"},
      {one(R"("dtype":5,"shape":[1],"data_offsets":[0,4])"), "dtype of tensor a is a number, it must be a string"},
      {one(R"("dtype":["I32"],"shape":[1],"data_offsets":[0,4])"), "dtype of tensor a is an array, it must be a string"},
      {one(R"("dtype":"BF16","shape":[2],"data_offsets":[0,4])"),
       "tensor a has dtype BF16, which is not supported (F32, F64, I32, I64 and BOOL are; convert it when saving)"},
      {one(R"("dtype":"F16","shape":[2],"data_offsets":[0,4])"),
       "tensor a has dtype F16, which is not supported (F32, F64, I32, I64 and BOOL are; convert it when saving)"},
      {one(R"("dtype":"f\u001b32","shape":[1],"data_offsets":[0,4])"),
       "tensor a has dtype f?32, which is not supported (F32, F64, I32, I64 and BOOL are; convert it when saving)"},
      {one(i32 + R"("shape":1,"data_offsets":[0,4])"), "shape of tensor a is a number, it must be an array of integers >= 0"},
      {one(i32 + R"("shape":{},"data_offsets":[0,4])"), "shape of tensor a is an object, it must be an array of integers >= 0"},
      {one(i32 + R"("shape":[-1],"data_offsets":[0,4])"),
       "shape of tensor a holds a negative number, it must be an array of integers >= 0"},
      {one(i32 + R"("shape":[1.0],"data_offsets":[0,4])"),
       "shape of tensor a holds a number that is not an integer below 2^64, it must be an array of integers >= 0"},
      {one(i32 + R"("shape":[99999999999999999999],"data_offsets":[0,4])"),
       "shape of tensor a holds a number that is not an integer below 2^64, it must be an array of integers >= 0"},
      {one(i32 + R"("shape":[true],"data_offsets":[0,4])"), "shape of tensor a holds a boolean, it must be an array of integers >= 0"},
      {one(i32 + R"("shape":[[1]],"data_offsets":[0,4])"), "shape of tensor a holds an array, it must be an array of integers >= 0"},
      {one(i32 + R"("shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4])"), "tensor a has 9 axes (at most 8 are supported)"},
      {one(i32 + R"("shape":[4294967296,4294967296],"data_offsets":[0,4])"), "tensor a has a shape of more bytes than 63 bits can count"},
      {one(i32 + R"("shape":[0,4294967296,4294967296],"data_offsets":[0,0])"), "tensor a has a shape of more bytes than 63 bits can count"},
      {one(i32 + R"("shape":[18446744073709551615],"data_offsets":[0,4])"), "tensor a has a shape of more bytes than 63 bits can count"},
      {one(i32 + R"("shape":[1],"data_offsets":[0])"), "data_offsets of tensor a holds 1 numbers, it must hold 2"},
      {one(i32 + R"("shape":[1],"data_offsets":[0,4,8])"), "data_offsets of tensor a holds 3 numbers, it must hold 2"},
      {one(i32 + R"("shape":[1],"data_offsets":["0","4"])"),
       "data_offsets of tensor a holds a string, it must be an array of integers >= 0"},
      {one(i32 + R"("shape":[1],"data_offsets":[4,0])"), "data_offsets of tensor a are not a range: [4, 0]"},
      {one(i32 + R"("shape":[1],"data_offsets":[0,18446744073709551615])"),
       "data_offsets of tensor a are not a range: [0, 18446744073709551615]"},
      {one(i32 + R"("shape":[1],"data_offsets":[0,3])"),
       "tensor a of shape [1] and dtype I32 needs 4 bytes, its data_offsets [0, 3] hold 3"},
      {one(i32 + R"("shape":[1],"data_offsets":[4,8])", 8),
       "tensor a begins at byte 4 of the data, after a gap from byte 0 on (tensors must follow each other)"},
      {header("{\"a\":" + good + ",\"b\":" + R"({"dtype":"I32","shape":[1],"data_offsets":[2,6]}})", 6),
       "tensor b begins at byte 2 of the data, inside the one before, which ends at 4 (tensors must follow each other)"},
      {header("{\"a\":" + good + ",\"b\":" + good + "}", 4),
       "tensor b begins at byte 0 of the data, inside the one before, which ends at 4 (tensors must follow each other)"},
      {header("{\"a\":" + good + "}", 3), "the header describes 4 bytes of data, the file has 3 (truncated? copy it again)"},
      {header("{\"a\":" + good + "}", 5), "the header describes 4 bytes of data, the file has 5 (something was appended)"},
      {header("{}", 1), "the header describes 0 bytes of data, the file has 1 (something was appended)"},
      {with_length(R"({"a":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]}})") + "\1\2",
       "tensor a of dtype BOOL holds a byte 2 (only 0 and 1 are booleans)"},
      {header("{\"" + std::string(200, 'n') + "\":1}"), "tensor " + std::string(60, 'n') + "... is a number, it must be an object"},
  };
  Scratch scratch;
  std::string path = scratch.file("bad");
  for (const Case& c : cases) {
    io::write_file(path, c.bytes);
    CHECK(error_text<IoError>([&] { return io::load_safetensors(path); }) == "safetensors: " + path + ": " + c.words);
  }
}

TEST_CASE("safetensors: every truncation of a good file, and every change of a byte of its header, is an IoError or reads") {
  Scratch scratch;
  std::string path = scratch.file("a");
  io::save_safetensors(path, sample());
  std::string good = io::read_file(path);
  for (std::size_t n = 0; n < good.size(); n += n < 20 ? 1 : 7) {
    io::write_file(path, good.substr(0, n));
    CHECK(error_text<IoError>([&] { return io::load_safetensors(path); }).rfind("safetensors: " + path + ": ", 0) == 0);
  }
  std::uint64_t length = 0;
  std::memcpy(&length, good.data(), 8);
  Index data = static_cast<Index>(good.size() - 8 - length);
  for (std::size_t i = 8; i < 8 + length; ++i)
    for (char c : {'\0', '"', '9', '{', '\xFF'}) {
      std::string bad = good.substr(8, length);
      bad[i - 8] = c;
      try {
        io::parse_header("x", bad, data);
      } catch (const IoError& e) {
        CHECK(std::string(e.what()).rfind("safetensors: x: ", 0) == 0);
      }
    }
}

TEST_CASE("safetensors: names that cannot be written are refused, and nothing is") {
  Scratch scratch;
  std::string path = scratch.file("a");
  Tensor t = Tensor::scalar(1.f);
  auto text = [&](const io::NamedTensors& tensors, const io::Metadata& metadata) {
    return error_text<ValueError>([&] { io::save_safetensors(path, tensors, metadata); });
  };
  CHECK(text({{"a", t}, {"b", t}, {"a", t}}, {}) == "save: two tensors have the name a (names must differ)");
  CHECK(text({{"__metadata__", t}}, {}) == "save: the name __metadata__ belongs to the format (choose another)");
  CHECK(text({{"\xFF", t}}, {}) == "save: a name or its metadata is not UTF-8: got \xFF");
  CHECK(text({{"a", t}}, {{"k", "\xC3"}}) == "save: a name or its metadata is not UTF-8: got \xC3");
  CHECK(files_in(scratch.folder()) == 0);
}

TEST_CASE("files: missing, folders, and places that cannot be written") {
  Scratch scratch;
  std::string missing = scratch.file("missing"), inside = scratch.file("no/such/folder");
  CHECK(error_text<IoError>([&] { return io::load_safetensors(missing); }) ==
        "safetensors: " + missing + ": cannot open: No such file or directory (is the name right?)");
  CHECK(error_text<IoError>([&] { return io::read_file(missing); }) ==
        "read: " + missing + ": cannot open: No such file or directory (is the name right?)");
  CHECK(error_text<IoError>([&] { return io::read_file(scratch.folder()); }) ==
        "read: " + scratch.folder() + ": not a regular file (a folder or a device?)");
  CHECK(error_text<IoError>([&] { io::write_file(inside, "x"); }) ==
        "write: " + inside + ": cannot create a file in its folder: No such file or directory (the folder must exist and be writable)");
  CHECK(error_text<IoError>([&] { io::write_file("/dev/full", "x"); }) == "write: /dev/full: not a regular file (choose another name)");
  CHECK(error_text<IoError>([&] { io::write_file(scratch.folder(), "x"); }) ==
        "write: " + scratch.folder() + ": not a regular file (choose another name)");
  io::write_file(scratch.file("plain"), "x");
  std::string below = scratch.file("plain/y");
  CHECK(error_text<IoError>([&] { io::write_file(below, "x"); }) ==
        "write: " + below + ": cannot create a file in its folder: Not a directory (the folder must exist and be writable)");
  if (::geteuid() == 0) {
    MESSAGE("not run: a folder without permission to write (the superuser may write everywhere)");
  } else {
    ::chmod(scratch.folder().c_str(), 0555);
    CHECK(error_text<IoError>([&] { io::write_file(scratch.file("z"), "x"); }) ==
          "write: " + scratch.file("z") +
              ": cannot create a file in its folder: Permission denied (the folder must exist and be writable)");
    ::chmod(scratch.folder().c_str(), 0755);
  }
}

TEST_CASE("files: a full disk leaves the old file whole and nothing beside it") {
  Scratch scratch;
  std::string path = scratch.file("model");
  io::save_safetensors(path, sample());
  std::string before = io::read_file(path), text;
  {
    FullDisk full(4096);
    text = error_text<IoError>([&] { io::save_safetensors(path, {{"large", Tensor::zeros({100000})}}); });
  }
  CHECK(text == "write: " + path + ": cannot write: File too large (nothing was changed; is the disk full?)");
  CHECK(io::read_file(path) == before);
  CHECK(files_in(scratch.folder()) == 1);
}

TEST_CASE("files: writing replaces, follows links, and needs no slash in the name") {
  Scratch scratch;
  std::string path = scratch.file("a"), link = scratch.file("link");
  io::write_file(path, "one");
  io::write_file(path, std::string("t\0o", 3));
  CHECK(io::read_file(path) == std::string("t\0o", 3));
  REQUIRE(::symlink(path.c_str(), link.c_str()) == 0);
  io::write_file(link, "three");
  CHECK(io::read_file(path) == "three");
  struct stat status {};
  CHECK((::lstat(link.c_str(), &status) == 0 && S_ISLNK(status.st_mode)));
  CHECK(files_in(scratch.folder()) == 2);
  io::write_file(path, "");
  CHECK(io::read_file(path).empty());
  char here[4096];
  REQUIRE(::getcwd(here, sizeof here) != nullptr);
  REQUIRE(::chdir(scratch.folder().c_str()) == 0);
  io::write_file("bare", "x");
  REQUIRE(::chdir(here) == 0);
  CHECK(io::read_file(scratch.file("bare")) == "x");
}

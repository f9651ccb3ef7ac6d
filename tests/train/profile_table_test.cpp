#include <rewind/autograd/ops.hpp>
#include <rewind/train/profile_table.hpp>

#include <cstdlib>

#include "../support.hpp"

using namespace rw;
using namespace rw::train;

TEST_CASE("profile_table: rates, shares and the nearer bound; what is small stands together") {
  CHECK(profile_table({}, {1e9, 1e9}) == "");
  Profile p;
  p.rows = {{"matmul", "[32, 512] x [512, 2048]", DType::f32, 35, 0.010, 1e9, 1e7},
            {"matmul", "[32, 64] x [64, 64]", DType::f64, 2, 0.005, 2.5e8, 1e6},
            {"matmul", "[1, 512] x [512, 2048]", DType::f32, 1, 0.002, 2e6, 4e6},
            {"region", "14 ops [32, 512]", DType::f32, 35, 0.002, 0, 8e7},
            {"scan", "35 steps", DType::f32, 1, 0.001},
            {"reduce", "[1]", DType::f32, 3, 3e-5, 0, 100},
            {"slice (copy)", "", DType::f32, 4, 1e-5, 0, 100}};
  p.plans = 0.020;
  p.elapsed = 0.025;
  CHECK(profile_table(p, {200e9, 10e9}) ==
        "plans ran 0.020 of 0.025 s; bounds: 200.0 GF/s, 10.0 GB/s\n"
        "kind    shape                        calls          ms   share     GF/s     GB/s  bound, reached\n"
        "matmul  [32, 512] x [512, 2048]         35      10.000  50.0 %    100.0      1.0  arithmetic  0.50\n"
        "matmul  [32, 64] x [64, 64] f64          2       5.000  25.0 %     50.0      0.2  arithmetic  0.50\n"
        "matmul  [1, 512] x [512, 2048]           1       2.000  10.0 %      1.0      2.0  memory      0.20\n"
        "region  14 ops [32, 512]                35       2.000  10.0 %              40.0  memory      4.00\n"
        "scan    35 steps                         1       1.000   5.0 %\n"
        "others  2 kinds                          7       0.040   0.2 %\n");
}

TEST_CASE("profile_table: bounds are positive, and a profile is taken by option or environment") {
  const ProfileBounds bounds = measure_profile_bounds();
  CHECK(bounds.flops > 0);
  CHECK(bounds.bytes > 0);
  ::unsetenv("REWIND_PROFILE");
  CHECK(!profile_wanted(false));
  CHECK(profile_wanted(true));
  ::setenv("REWIND_PROFILE", "0", 1);
  CHECK(!profile_wanted(false));
  ::setenv("REWIND_PROFILE", "1", 1);
  CHECK(profile_wanted(false));
  ::unsetenv("REWIND_PROFILE");
}

TEST_CASE("profile_table: printed at the end of the block, if it is wanted") {
  Variable x = Tensor::full({3, 3}, 1, DType::f32);
  for (bool wanted : {false, true}) {
    std::FILE* file = std::tmpfile();
    REQUIRE(file);
    {
      ProfileAtEnd at_end(wanted, file);
      matmul(x, x).value();
    }
    CHECK(!profile::running());
    std::string text(4000, '\0');
    std::rewind(file);
    text.resize(std::fread(text.data(), 1, text.size(), file));
    std::fclose(file);
    CHECK(text.empty() == !wanted);
    CHECK((text.find("\nmatmul  ") != std::string::npos) == wanted);
  }
}

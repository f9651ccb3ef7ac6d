#include <rewind/train/report.hpp>

#include <cmath>

#include "../support.hpp"

using namespace rw;
using namespace rw::train;

TEST_CASE("report: numbers as people read them") {
  CHECK(with_commas(0) == "0");
  CHECK(with_commas(999) == "999");
  CHECK(with_commas(1000) == "1,000");
  CHECK(with_commas(1234567) == "1,234,567");
  CHECK(with_commas(-123456) == "-123,456");
  CHECK(with_commas(-1234) == "-1,234");
  CHECK(duration(0) == "0:00");
  CHECK(duration(83.4) == "1:23");
  CHECK(duration(3600 + 61) == "1:01:01");
  CHECK(duration(NAN) == "-");
  CHECK(duration(HUGE_VAL) == "-");
}

TEST_CASE("report: the model's table counts a tied place once") {
  const std::string text =
      model_table({{"embed.weight", {10, 4}, DType::f32, 40, 160, ""}, {"head.weight", {10, 4}, DType::f32, 0, 0, "embed.weight"}});
  CHECK(text ==
        "  parameter     shape        elements         bytes\n"
        "  embed.weight  [10, 4]            40           160\n"
        "  head.weight   [10, 4]  = embed.weight             0\n"
        "  all                              40           160\n");
}

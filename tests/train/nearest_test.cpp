#include <rewind/train/nearest.hpp>

#include "../support.hpp"

using namespace rw::train;

TEST_CASE("edit_distance: insertions, deletions, replacements, exchanges") {
  CHECK(edit_distance("", "") == 0);
  CHECK(edit_distance("", "abc") == 3);
  CHECK(edit_distance("abc", "") == 3);
  CHECK(edit_distance("hiden", "hidden") == 1);
  CHECK(edit_distance("htread", "thread") == 1);
  CHECK(edit_distance("kitten", "sitting") == 3);
  CHECK(edit_distance("ab", "ba") == 1);
}

TEST_CASE("nearest: the closest of the candidates, and none where all are far") {
  const std::vector<std::string> names = {"--hidden", "--help", "--time", "--rate"};
  CHECK(nearest("--hiden", names) == "--hidden");
  CHECK(nearest("--tmie", names) == "--time");
  CHECK(nearest("--rte", names) == "--rate");
  CHECK(nearest("--xyzzy-plugh", names) == "");
  CHECK(nearest("--hidden", names) == "--hidden");
}

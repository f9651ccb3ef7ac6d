// The list with its first elements in place.
#include <rewind/autograd/few.hpp>

#include <doctest/doctest.h>
#include <vector>

using rw::detail::Few;

TEST_CASE("few: what does not find room in place moves to a block, in order") {
  Few<int, 3> list;
  CHECK(list.empty());
  for (int i = 0; i < 100; ++i) {
    list.push_back(i);
    REQUIRE(list.size() == static_cast<std::size_t>(i + 1));
    for (int k = 0; k <= i; ++k) REQUIRE(list[static_cast<std::size_t>(k)] == k);
  }
  const std::vector<int> two{7, 8};
  list.assign(two);
  CHECK(std::vector<int>(list.begin(), list.end()) == two);
  list.assign(5, 9);
  CHECK(std::vector<int>(list.begin(), list.end()) == std::vector<int>(5, 9));
}

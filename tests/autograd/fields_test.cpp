// Lists of fields: names, counting, copying, assigning.
#include <rewind/autograd/fields.hpp>
#include <rewind/autograd/ops.hpp>

#include "support.hpp"

using namespace rw;
using test::error_text;

namespace {

struct Unit {
  Parameter w, b;
  explicit Unit(Index n) : w({n, n}), b({n}) {}
  REWIND_FIELDS(w, b)
};
struct Nothing {
  REWIND_FIELDS()
};
struct Net {
  Unit first;
  std::vector<Unit> layers;
  std::array<Parameter, 2> pair_of = {Parameter({2}), Parameter({3})};
  std::pair<Parameter, Unit> couple{Parameter({4}), Unit(1)};
  std::optional<Parameter> present{std::in_place, Shape{5}}, absent;
  std::optional<Unit> unit{std::in_place, 2};
  Nothing nothing;
  explicit Net(Index n, int depth = 2) : first(n) {
    for (int i = 0; i < depth; ++i) layers.emplace_back(n);
  }
  REWIND_FIELDS(first, layers, pair_of, couple, present, absent, unit, nothing)
};

std::vector<std::string> names_of(const ParameterList& list) {
  std::vector<std::string> names;
  for (const auto& p : list) names.push_back(p.name);
  return names;
}

static_assert(Module<Net> && Module<Nothing> && !Module<Parameter> && !Module<int>);

}  // namespace

TEST_CASE("fields: names follow the members, through vectors, arrays, pairs, optionals and nested modules") {
  Net net(2);
  CHECK(names_of(parameters(net)) == std::vector<std::string>{"first.w", "first.b", "layers.0.w", "layers.0.b", "layers.1.w", "layers.1.b",
                                                              "pair_of.0", "pair_of.1", "couple.first", "couple.second.w",
                                                              "couple.second.b", "present", "unit.w", "unit.b"});
  CHECK(count(net) == 3 * 6 + 5 + 4 + 2 + 5 + 6);
  CHECK(parameters(Nothing{}).empty());
  CHECK(names_of(parameters(net.first.w)) == std::vector<std::string>{"parameter"});
}

TEST_CASE("fields: a table has a row a name, and its bytes count tied places once") {
  Net net(2);
  net.layers[1].w = share(net.first.w);
  auto rows = table(net);
  REQUIRE(rows.size() == 14);
  CHECK(rows[0].name == "first.w");
  CHECK(rows[0].shape == Shape{2, 2});
  CHECK(rows[0].elements == 4);
  CHECK(rows[0].bytes == 16);
  CHECK(rows[0].alias_of == "");
  CHECK(rows[4].name == "layers.1.w");
  CHECK(rows[4].elements == 0);
  CHECK(rows[4].bytes == 0);
  CHECK(rows[4].alias_of == "first.w");
  CHECK(parameters(net).size() == 13);
  CHECK(count(net) == 3 * 6 + 5 + 4 + 2 + 5 + 6 - 4);
  auto tensors = named_tensors(net);
  CHECK(tensors.size() == 13);
  CHECK(identical(tensors[0].second, net.first.w.value()));
  REQUIRE(aliases(net).size() == 1);
  CHECK(aliases(net)[0].of == "first.w");
}

TEST_CASE("fields: copy keeps values and ties, and shares no place") {
  Net net(3);
  net.layers[0].w = share(net.first.w);
  net.layers[1].w = share(net.first.w);
  net.first.b.freeze();
  Net other = copy(net);
  auto from = parameters(net), to = parameters(other);
  REQUIRE(names_of(from) == names_of(to));
  for (std::size_t i = 0; i < from.size(); ++i) {
    CHECK(from[i].place != to[i].place);
    CHECK(identical(from[i].place.value().value(), to[i].place.value().value()));
  }
  CHECK(other.layers[1].w.place() == other.first.w.place());
  CHECK(other.first.w.place().owners() == 3);
  CHECK(net.first.w.place().owners() == 3);
  CHECK(other.first.b.frozen());
  Net third = copy(other);
  CHECK(third.layers[0].w.place() == third.first.w.place());
}

TEST_CASE("fields: assign checks everything before it writes anything") {
  Net a(2), b(2), deeper(2, 3), wider(2);
  auto hold = a.first.w.place();
  b.unit->b = Tensor::full({2}, 5);
  assign(a, b);
  CHECK(hold == a.first.w.place());
  CHECK(identical(a.first.w.value(), b.first.w.value()));
  CHECK(a.unit->b.value().at({1}) == 5);

  Tensor before = a.first.w.value();
  deeper.first.w = Tensor::full({2, 2}, 1);
  CHECK(error_text<ValueError>([&] { assign(a, deeper); }) ==
        "assign: parameter pair_of.0 is not in the source: there stands layers.2.w (both models must have the same layers)");
  CHECK(error_text<ValueError>([&] { assign(deeper, a); }) ==
        "assign: parameter layers.2.w is not in the source: there stands pair_of.0 (both models must have the same layers)");
  Net shorter(2);
  shorter.unit.reset();
  CHECK(error_text<ValueError>([&] { assign(a, shorter); }) ==
        "assign: parameter unit.w is not in the source: there stands nothing (both models must have the same layers)");
  CHECK(error_text<ValueError>([&] { assign(shorter, a); }) ==
        "assign: parameter unit.w of the source is not in the model (both models must have the same layers)");
  wider.first.w = Tensor::full({2, 2}, 1);
  wider.unit.emplace(4);
  CHECK(error_text<ShapeError>([&] { assign(a, wider); }) ==
        "assign: parameter unit.w is [2, 2], in the source [4, 4] (both models must have the same sizes)");
  Net exact(2);
  exact.first.w = Tensor::full({2, 2}, 1);
  cast(exact, DType::f64);
  CHECK(error_text<DTypeError>([&] { assign(a, exact); }) ==
        "assign: parameter first.w is f32, in the source f64 (convert one with cast(model, dtype))");
  CHECK(identical(a.first.w.value(), before));
}

TEST_CASE("fields: cast converts a model in place") {
  Net net(2);
  auto hold = net.first.w.place();
  Tensor before = net.first.w.value();
  cast(net, DType::f64);
  CHECK(net.first.w.place() == hold);
  CHECK(net.unit->w.dtype() == DType::f64);
  CHECK(identical(net.first.w.value().cast(DType::f32), before));
  CHECK(error_text<DTypeError>([&] { cast(net, DType::i64); }) == "cast: parameters are f32 or f64: asked for i64 (choose one of them)");
}

// Structs of Variables: what is one, in which order and under which names its Variables stand.
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/parameter.hpp>
#include <rewind/autograd/structs.hpp>

#include "support.hpp"

using namespace rw;

namespace {

struct HC {
  Variable h, c;
};
struct Empty {};
struct One {
  HC inner;
};
struct Deep {
  HC first;
  std::vector<HC> layers;
  std::array<Variable, 2> two;
  std::pair<Variable, One> couple;
  Variable last;
  Empty nothing;
};
struct Eight {
  Variable a, b, c, d, e, f, g, h;
};
struct Nine {
  Variable a, b, c, d, e, f, g, h, i;
};
struct CArray {
  Variable a;
  Variable h[3];
  HC c;
};
struct CArrayOfOne {
  Variable h[1];
};
struct LongCArray {
  Variable h[30];
};
struct WithNumber {
  Variable a;
  int n;
};
struct WithParameter {
  Parameter p;
};
struct Derived : HC {
  Variable z;
};
struct DerivedFromOne : One {
  Variable z;
};
struct DerivedFromEmpty : Empty {
  Variable z;
};
struct WithReference {
  const Variable& a;
};
class Private {
  [[maybe_unused]] Variable a;
};

using detail::fault, detail::StructFault;
static_assert(VariableStruct<Variable> && VariableStruct<HC> && VariableStruct<Empty> && VariableStruct<Deep> && VariableStruct<Eight>);
static_assert(VariableStruct<std::vector<HC>> && VariableStruct<std::pair<HC, Variable>> && VariableStruct<std::array<HC, 3>>);
static_assert(!VariableStruct<Parameter> && !VariableStruct<Tensor> && !VariableStruct<int> && !VariableStruct<Private>);
static_assert(fault<Nine> == StructFault::too_many_fields);
static_assert(fault<CArray> == StructFault::c_array);
static_assert(fault<CArrayOfOne> == StructFault::c_array);
static_assert(fault<LongCArray> == StructFault::c_array);
static_assert(fault<std::vector<CArray>> == StructFault::c_array);
static_assert(fault<WithNumber> == StructFault::foreign_field);
static_assert(fault<WithParameter> == StructFault::foreign_field);
static_assert(fault<Derived> == StructFault::no_aggregate);
static_assert(fault<DerivedFromOne> == StructFault::no_aggregate);
static_assert(fault<DerivedFromEmpty> == StructFault::no_aggregate);
static_assert(fault<WithReference> != StructFault::none);

Deep deep() {
  Deep d{{0, 1}, {{2, 3}, {4, 5}}, {6, 7}, {8, {{9, 10}}}, 11, {}};
  return d;
}

template <class S>
std::vector<std::string> names_of(const S& s) {
  std::vector<std::string> names;
  field_names(s, names);
  return names;
}

}  // namespace

TEST_CASE("structs: flatten gives the fields in order, unflatten_like puts them back") {
  std::vector<Variable> flat;
  flatten(deep(), flat);
  REQUIRE(flat.size() == 12);
  for (std::size_t i = 0; i < flat.size(); ++i) CHECK(flat[i].item() == static_cast<double>(i));

  for (auto& v : flat) v = v + 100;
  Deep back = unflatten_like(deep(), flat);
  CHECK(back.first.c.item() == 101);
  CHECK(back.layers[1].h.item() == 104);
  CHECK(back.two[1].item() == 107);
  CHECK(back.couple.second.inner.c.item() == 110);
  CHECK(back.last.item() == 111);

  flat.clear();
  flatten(Empty{}, flat);
  flatten(std::vector<HC>{}, flat);
  CHECK(flat.empty());
}

TEST_CASE("structs: names are paths, of local types too") {
  CHECK(names_of(deep()) == std::vector<std::string>{"first.h", "first.c", "layers.0.h", "layers.0.c", "layers.1.h", "layers.1.c", "two.0",
                                                     "two.1", "couple.first", "couple.second.inner.h", "couple.second.inner.c", "last"});
  CHECK(names_of(Eight{}) == std::vector<std::string>{"a", "b", "c", "d", "e", "f", "g", "h"});
  CHECK(names_of(Variable()) == std::vector<std::string>{""});
  CHECK(names_of(Empty{}).empty());
  struct Local {
    Variable value, valued;
    HC nested;
  };
  CHECK(names_of(Local{}) == std::vector<std::string>{"value", "valued", "nested.h", "nested.c"});
}

TEST_CASE("structs: a type's name is its last word") {
  struct Local {};
  CHECK(detail::type_name(detail::type_spelling<HC>()) == "HC");
  CHECK(detail::type_name(detail::type_spelling<Local>()) == "Local");
  CHECK(detail::type_name(detail::type_spelling<std::vector<int>>()) == "vector");
}

TEST_CASE("structs: map, zip, detach and every_empty") {
  HC a{1, 2}, b{10, 20};
  CHECK(map_struct(a, [](const Variable& v) { return v * 3; }).c.item() == 6);
  HC sum = zip_struct(a, b, [](const Variable& v, const Variable& w) { return v + w; });
  CHECK(sum.h.item() == 11);
  CHECK(sum.c.item() == 22);
  CHECK(detach(sum).c.item() == 22);
  CHECK(detach(HC{{}, 2}).h.empty());
  CHECK(every_empty(HC{}));
  CHECK(every_empty(Empty{}));
  CHECK(every_empty(std::vector<HC>(2)));
  CHECK(!every_empty(HC{{}, 2}));
}

TEST_CASE("structs: structs of different lengths say so") {
  std::vector<HC> two(2), three(3);
  auto first = [](const Variable& v, const Variable&) { return v; };
  CHECK(test::error_text<ValueError>([&] { return zip_struct(two, three, first); }) ==
        "zip_struct: the structs differ: 4 variables, and 6 (vectors in both must have the same lengths)");
  CHECK(test::error_text<ValueError>([&] { return unflatten_like(two, std::vector<Variable>(3)); }) ==
        "unflatten_like: the structs differ: 4 variables, and 3 (vectors in both must have the same lengths)");
}

#include <map>
#include <rewind/autograd/fields.hpp>
#include <rewind/autograd/place.hpp>
#include <rewind/core/format.hpp>

namespace rw {

std::string_view Fields::next_name(std::string_view& names) {
  auto begin = names.find_first_not_of(" ,");
  auto end = std::min(names.find(',', begin), names.size());
  auto name = names.substr(begin, end - begin);
  names.remove_prefix(end);
  return name.substr(0, name.find_last_not_of(' ') + 1);
}

std::size_t Fields::enter(std::string_view name) {
  std::size_t length = prefix_.size();
  if (length) prefix_ += '.';
  prefix_ += name;
  return length;
}

namespace detail {

void Collector::parameter(const std::string& path, const Parameter& parameter) {
  static_cast<void>(parameter.place().value());  // a parameter that was moved from says so here
  list_place(parameter.place().get());
  all.push_back({path, parameter.place()});
}

namespace {

/// calls f(entry, first name of its place or nullptr) for each entry.
template <class F>
void with_first_names(const ParameterList& all, F f) {
  std::map<const Place*, const std::string*> seen;
  for (const auto& p : all) {
    auto [at, fresh] = seen.try_emplace(p.place.get(), &p.name);
    f(p, fresh ? nullptr : at->second);
  }
}

}  // namespace

ParameterList distinct(ParameterList all) {
  ParameterList result;
  with_first_names(all, [&](const NamedParameter& p, const std::string* first) {
    if (!first) result.push_back(p);
  });
  return result;
}

Index count(const ParameterList& list) {
  Index n = 0;
  for (const auto& p : list) n += p.place.value().size();
  return n;
}

NamedTensors values(const ParameterList& list) {
  NamedTensors result;
  for (const auto& p : list) result.emplace_back(p.name, p.place.value().value());
  return result;
}

void assign(const ParameterList& to, const ParameterList& from) {
  for (std::size_t i = 0; i < std::max(to.size(), from.size()); ++i) {
    if (i == from.size() || (i < to.size() && to[i].name != from[i].name)) {
      fail<ValueError>("assign: parameter {} is not in the source: there stands {} (both models must have the same layers)", to[i].name,
                       i < from.size() ? from[i].name : "nothing");
    }
    if (i == to.size())
      fail<ValueError>("assign: parameter {} of the source is not in the model (both models must have the same layers)", from[i].name);
    const Variable &t = to[i].place.value(), &f = from[i].place.value();
    if (t.shape() != f.shape()) {
      fail<ShapeError>("assign: parameter {} is {}, in the source {} (both models must have the same sizes)", to[i].name, t.shape(),
                       f.shape());
    }
    if (t.dtype() != f.dtype()) {
      fail<DTypeError>("assign: parameter {} is {}, in the source {} (convert one with cast(model, dtype))", to[i].name, t.dtype(),
                       f.dtype());
    }
  }
  std::vector<Tensor> values;
  for (const auto& p : from) values.push_back(p.place.value().value());
  for (std::size_t i = 0; i < to.size(); ++i) to[i].place.set_value(values[i]);
}

void cast(const ParameterList& list, DType dtype) {
  if (!is_floating(dtype)) fail<DTypeError>("cast: parameters are f32 or f64: asked for {} (choose one of them)", dtype);
  for (const auto& p : list) {
    Variable leaf(p.place.value().value().cast(dtype));
    p.place.set_gradient({});
    rebind(p.place.get(), std::move(leaf));
  }
}

}  // namespace detail

ParameterList parameters(const Parameter& parameter) {
  detail::Collector collector;
  collector.parameter("parameter", parameter);
  return std::move(collector.all);
}

std::vector<Alias> aliases(const ParameterList& all) {
  std::vector<Alias> result;
  detail::with_first_names(all, [&](const NamedParameter& p, const std::string* first) {
    if (first) result.push_back({p.name, *first});
  });
  return result;
}

std::vector<ParameterRow> table(const ParameterList& all) {
  std::vector<ParameterRow> rows;
  detail::with_first_names(all, [&](const NamedParameter& p, const std::string* first) {
    const Variable& v = p.place.value();
    Index elements = first ? 0 : v.size();
    rows.push_back({p.name, v.shape(), v.dtype(), elements, elements * size_of(v.dtype()), first ? *first : std::string()});
  });
  return rows;
}

}  // namespace rw

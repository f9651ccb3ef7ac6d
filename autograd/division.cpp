#include <rewind/autograd/division.hpp>

#include <rewind/core/matmul.hpp>

namespace rw::detail {

Division division_of(const Body& body) {
  const Program& p = body.program;
  std::vector<Rows> rows(p.types.size(), Rows::unknown);
  const auto extent = [&](int v) { return p.types[v].shape.rank() ? p.types[v].shape[0] : 0; };
  Division d;
  for (const auto& i : p.code) {
    if (i.op != &sum_groups_operator) continue;
    if (i.inputs.size() > 1) rows[i.inputs[1]] = Rows::group;
    d.together = extent(i.inputs[0]) / extent(i.first);
  }
  for (int c = body.carries; c-- > 0;)
    if (rows[p.inputs[c]] != Rows::group) d.batch = extent(p.inputs[c]);
  if (d.batch < 2) return {};
  for (std::size_t i = 0; i < p.inputs.size(); ++i) {
    const int v = p.inputs[i];
    if (rows[v] == Rows::group) continue;
    const bool batched = extent(v) == d.batch;
    if (static_cast<int>(i) < body.carries) {
      if (!batched) return {};
      rows[v] = Rows::row;
    } else if (!batched) {
      rows[v] = Rows::shared;
    }
  }
  for (const auto& i : p.code) {
    RowCheck check{p, i, d.batch, rows};
    if (!i.op->rows(check)) return {};
  }
  for (std::size_t o = 0; o < p.outputs.size(); ++o) {
    const bool group = o < static_cast<std::size_t>(body.carries) && rows[p.inputs[o]] == Rows::group;
    if (rows[p.outputs[o]] != (group ? Rows::group : Rows::row)) return {};
  }
  d.rows = std::move(rows);
  return d;
}

Program for_rows(const Program& program, const Division& division, Index count) {
  Program result = program;
  for (std::size_t v = 0; v < division.rows.size(); ++v)
    if (const int n = static_cast<int>(v); division.by_row(n)) result.types[v].shape[0] = count / division.rows_at_once(n);
  return result;
}

Work work_of(const Program& program, const Division& division) {
  Work w;
  for (const auto& i : program.code) {
    const Index size = program.types[i.first].shape.size();
    if (i.op != &matmul_operator) {
      w.flops += 20 * static_cast<double>(size);
      continue;
    }
    const Index k = program.types[i.inputs[0]].shape.back();
    w.flops += 2 * static_cast<double>(size) * static_cast<double>(k);
    if (division.rows.empty() || division.rows[i.inputs[1]] != Rows::shared) continue;
    const Type& right = program.types[i.inputs[1]];
    const Index n = program.types[i.first].shape.back();
    w.weights += right.shape.size() * size_of(right.dtype);
    w.splits = w.splits || (n > 0 && worth_splitting(size / n, n, k));
  }
  return w;
}

}  // namespace rw::detail

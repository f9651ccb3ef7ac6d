// Compiling tile programs: checks, depths, schedules, registers.
#include <algorithm>
#include <atomic>
#include <rewind/core/format.hpp>
#include <rewind/core/tile_plan.hpp>

namespace rw::tile {

namespace {

template <class F>
void for_operands(const TileProgram::Instruction& i, F&& f) {
  for (int v : {i.a, i.b, i.c})
    if (v >= 0) f(v);
}
template <class F>
void for_operands(const Instruction& i, F&& f) {
  for (int k = 0; k < i.inputs; ++k) f(i.in[k]);
}

void check(const TileProgram& program) {
  if (!is_floating(program.dtype)) fail<ValueError>("tile: programs compute in f32 or f64: dtype is {}", program.dtype);
  int count = static_cast<int>(program.code.size()), operands = static_cast<int>(program.operands.size());
  for (int n = 0; n < count; ++n) {
    const auto& i = program.code[n];
    int arity = i.kind == Kind::apply ? (i.code < op::All::size ? op::info[i.code].arity : -1) : is_source(i.kind) ? 0 : 1;
    if (arity < 0) fail<ValueError>("tile: no such operation: instruction {} has code {}", n, i.code);
    int given = 0;
    for_operands(i, [&](int v) {
      ++given;
      if (v >= n || is_result(program.code[v].kind)) fail<ValueError>("tile: value not made before its use: instruction {} uses {}", n, v);
    });
    if (given != arity) fail<ValueError>("tile: wrong number of values: instruction {} has {}, needs {}", n, given, arity);
    bool memory = i.kind != Kind::apply && i.kind != Kind::column && !is_reduction(i.kind);
    if (memory && (i.operand < 0 || i.operand >= operands))
      fail<ValueError>("tile: no such operand: instruction {} names {} of {}", n, i.operand, operands);
    if (i.kind == Kind::gather) {
      if (i.index < 0 || i.index >= operands)
        fail<ValueError>("tile: no such operand: instruction {} names {} of {}", n, i.index, operands);
      DType d = program.operands[i.index];
      if (d != DType::i32 && d != DType::i64) fail<ValueError>("tile: gather takes i32 or i64 indices: operand {} is {}", i.index, d);
    }
    if (is_random(i.kind) && program.operands[i.operand] != DType::i64)
      fail<ValueError>("tile: random keys are i64: operand {} is {}", i.operand, program.operands[i.operand]);
    if (i.kind == Kind::total && program.operands[i.operand] != program.dtype)
      fail<ValueError>("tile: totals have the program's dtype {}: operand {} is {}", program.dtype, i.operand, program.operands[i.operand]);
    if (i.group != 0 && i.kind != Kind::total) fail<ValueError>("tile: only totals have groups of rows: instruction {} has {}", n, i.group);
    if (i.group < 0) fail<ValueError>("tile: totals have groups of 0 rows, which is all, or more: instruction {} has {}", n, i.group);
    if (i.kind == Kind::column && i.narrow) fail<ValueError>("tile: column is full: instruction {} is marked narrow", n);
  }
}

/// Which instructions are narrow.
std::vector<bool> find_narrow(const TileProgram& program) {
  const auto& code = program.code;
  std::vector<bool> narrow(code.size());
  for (std::size_t n = 0; n < code.size(); ++n) {
    const auto& i = code[n];
    if (is_reduction(i.kind)) {
      if (narrow[i.a]) fail<ValueError>("tile: row reductions take full values: instruction {} reduces {}, which is narrow", n, i.a);
      narrow[n] = true;
    } else if (i.kind == Kind::total) {
      if (narrow[i.a]) fail<ValueError>("tile: totals are of full values: instruction {} adds {}, which is narrow", n, i.a);
    } else if (i.kind == Kind::store) {
      narrow[n] = narrow[i.a];
    } else {
      narrow[n] = i.narrow;
      for_operands(i, [&](int v) {
        if (i.narrow && !narrow[v])
          fail<ValueError>("tile: narrow values come of narrow ones: instruction {} uses {}, which is full", n, v);
      });
    }
  }
  return narrow;
}

Step step_of(const Plan& plan, int n) {
  const auto& i = plan.code[n];
  return {.instruction = n,
          .out = i.narrow_out,
          .kind = i.kind,
          .code = i.code,
          .narrow = i.narrow,
          .plain = i.kind == Kind::load && !i.narrow && plan.program.operands[i.operand] == plan.program.dtype,
          .operand = i.operand,
          .index = i.index};
}

/// The wanted instructions in program order, sources where they are first used, or all at the start.
std::vector<Step> ordered(const Plan& plan, const std::vector<bool>& wanted, bool safe) {
  const auto& code = plan.code;
  int count = static_cast<int>(code.size());
  std::vector<Step> steps;
  std::vector<bool> placed(code.size());
  auto place = [&](int n) {
    if (!placed[n]) steps.push_back(step_of(plan, n));
    placed[n] = true;
  };
  std::vector<bool> used(code.size());
  for (int n = 0; n < count; ++n)
    if (wanted[n]) for_operands(code[n], [&](int v) { used[v] = true; });
  for (int n = 0; n < count && safe; ++n)
    if (wanted[n] && is_source(code[n].kind) && used[n]) place(n);
  for (int n = 0; n < count; ++n) {
    if (!wanted[n] || is_source(code[n].kind)) continue;
    for_operands(code[n], [&](int v) {
      if (is_source(code[v].kind) && wanted[v]) place(v);
    });
    place(n);
  }
  for (auto& step : steps) {
    if (step.narrow || is_reduction(step.kind) || step.kind == Kind::load || step.kind == Kind::column) continue;
    for (const auto& other : steps)
      if (other.kind == Kind::store && code[other.instruction].in[0] == step.instruction && step.store < 0 &&
          plan.program.operands[other.operand] == plan.program.dtype)
        step.store = other.operand;
  }
  return steps;
}

/// Full registers for the steps of one phase: a result may take the register of an operand that dies in it, unless that is a source, whose
/// rows may lie in the register in another form.
int assign(const Plan& plan, std::vector<Step>& steps) {
  const auto& code = plan.code;
  std::vector<int> last(code.size(), -1), where(code.size(), -1), free;
  int registers = 0;
  for (int s = 0; s < static_cast<int>(steps.size()); ++s) {
    int n = steps[s].instruction;
    last[n] = s;
    for_operands(code[n], [&](int v) { last[v] = s; });
  }
  for (int s = 0; s < static_cast<int>(steps.size()); ++s) {
    int n = steps[s].instruction;
    auto release = [&](bool sources) {
      for_operands(code[n], [&](int v) {
        if (last[v] != s || where[v] < 0 || is_source(code[v].kind) != sources) return;
        free.push_back(where[v]);
        where[v] = -1;
      });
    };
    release(false);
    if (!is_result(code[n].kind) && !plan.code[n].narrow) {
      if (free.empty()) free.push_back(registers++);
      where[n] = steps[s].out = free.back();
      free.pop_back();
      if (last[n] == s) free.push_back(where[n]), where[n] = -1;
    }
    release(true);
  }
  return registers;
}

void find_hazards(const Plan& plan, const std::vector<Step>& steps, std::vector<Hazard>& hazards) {
  const auto& code = plan.code;
  int count = static_cast<int>(steps.size());
  std::vector<int> made(code.size(), -1), last(code.size(), -1);
  for (int s = 0; s < count; ++s) {
    made[steps[s].instruction] = s;
    for_operands(code[steps[s].instruction], [&](int v) { last[v] = s; });
  }
  for (int s = 0; s < count; ++s) {
    const auto& store = code[steps[s].instruction];
    if (store.kind != Kind::store) continue;
    int written = code[store.in[0]].kind == Kind::load ? s : std::min(s, std::max(made[store.in[0]], 0));
    for (int t = 0; t < count; ++t) {
      int n = steps[t].instruction;
      if ((code[n].kind != Kind::load && code[n].kind != Kind::gather) || last[n] <= written) continue;
      hazards.push_back({store.operand, code[n].operand});
      if (code[n].kind == Kind::gather) hazards.push_back({store.operand, code[n].index});
    }
  }
}

Schedule whole(const Plan& plan, bool safe) {
  Schedule schedule;
  auto& phase = schedule.phases.emplace_back();
  phase.points = ordered(plan, std::vector<bool>(plan.code.size(), true), safe);
  schedule.registers = assign(plan, phase.points);
  if (!safe) find_hazards(plan, phase.points, schedule.hazards);
  return schedule;
}

/// Depth of a value: reductions that must be complete before it can be computed. Full stores wait for the last pass over the columns, for
/// every pass but the last reads the loads again; narrow stores come at the end.
Schedule chunked(const Plan& plan, bool safe) {
  const auto& code = plan.code;
  int count = static_cast<int>(code.size()), deepest = 0, deepest_store = -1;
  std::vector<int> depth(code.size());
  for (int n = 0; n < count; ++n) {
    for_operands(code[n], [&](int v) { depth[n] = std::max(depth[n], depth[v]); });
    if (is_result(code[n].kind) && !plan.code[n].narrow) deepest_store = std::max(deepest_store, depth[n]);
    if (is_reduction(code[n].kind)) deepest = std::max(deepest, ++depth[n]);
  }
  int store_phase = deepest_store == deepest ? deepest : deepest - 1;
  Schedule schedule;
  for (int p = 0; p <= deepest + 1; ++p) {
    auto& phase = schedule.phases.emplace_back();
    std::vector<bool> rows(code.size()), points(code.size());
    for (int n = count - 1; n >= 0; --n) {
      bool store = is_result(code[n].kind);
      if (plan.code[n].narrow && !is_reduction(code[n].kind)) {
        rows[n] = p == (store ? deepest + 1 : depth[n]);
        continue;
      }
      if (store && p == store_phase) points[n] = true;
      if (is_reduction(code[n].kind) && depth[n] == p + 1) points[n] = true;
      if (points[n]) for_operands(code[n], [&](int v) { points[v] = points[v] || !plan.code[v].narrow; });
    }
    for (int n = 0; n < count; ++n)
      if (rows[n]) phase.rows.push_back(step_of(plan, n));
    phase.points = ordered(plan, points, safe);
    schedule.registers = std::max(schedule.registers, assign(plan, phase.points));
    if (!safe) find_hazards(plan, phase.points, schedule.hazards);
  }
  return schedule;
}

}  // namespace

Plan make_plan(const TileProgram& program, const Shape& space, std::vector<TileOperand> operands) {
  check(program);
  if (operands.size() != program.operands.size())
    fail<ValueError>("tile: wrong number of operands: the program has {}, {} are given", program.operands.size(), operands.size());
  Plan plan;
  static std::atomic<std::uint64_t> next{1};
  plan.serial = next++;
  plan.program = program;
  plan.space = space;
  plan.operands = std::move(operands);
  plan.code = with_chains(program, find_narrow(program));
  for (auto& i : plan.code)
    if (i.narrow && !is_result(i.kind)) i.narrow_out = plan.narrows++;
  plan.any_narrow = plan.narrows > 0;
  plan.random.resize(program.operands.size());
  for (const auto& i : program.code) {
    plan.any_column |= i.kind == Kind::column;
    plan.any_gather |= i.kind == Kind::gather;
    plan.any_total |= i.kind == Kind::total;
    if (is_random(i.kind)) plan.random[i.operand] = true;
    bool slow = (i.kind == Kind::apply && !op::info[i.code].cheap) || i.kind == Kind::gather || is_random(i.kind);
    if (!i.narrow) plan.cost += (slow ? 0.8 : 0.15) * (program.dtype == DType::f64 ? 2.5 : 1);
  }
  std::vector<bool> along(program.operands.size());
  plan.down.resize(program.operands.size());
  for (const auto& i : plan.code) {
    plan.whole_rows |= is_reduction(i.kind) || i.kind == Kind::column || (i.kind == Kind::store && i.narrow);
    for (int o : {i.operand, i.index})
      if (o >= 0) (i.narrow ? plan.down : along)[o] = true;
  }
  for (std::size_t o = 0; o < along.size(); ++o) plan.whole_rows |= plan.down[o] && along[o];
  for (bool safe : {false, true}) {
    plan.whole[safe] = whole(plan, safe);
    plan.chunked[safe] = chunked(plan, safe);
  }
  for (const auto* schedule : {&plan.whole[false], &plan.chunked[false]})
    for (const auto& h : schedule->hazards)
      if (std::find(plan.hazards.begin(), plan.hazards.end(), h) == plan.hazards.end()) plan.hazards.push_back(h);
  return plan;
}

}  // namespace rw::tile

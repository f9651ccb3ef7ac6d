// Fusion: elementwise work, row reductions, sums over steps, random numbers and positions are grouped into regions, which the tile machine
// runs without writing what lies between.
//
// Every instruction has a level: 0 without operands (constants lie below), else one more than the highest operand outside its own region. A
// region takes an instruction whose other operands lie on lower levels, and joins with a region of the same level. So no path leaves a
// region and comes back, and the order of levels is an order to run in.
#include <algorithm>
#include <rewind/autograd/elementwise.hpp>
#include <rewind/autograd/passes/passes.hpp>
#include <rewind/autograd/passes/regions.hpp>
#include <rewind/core/kernels.hpp>
#include <unordered_map>
#include <unordered_set>

namespace rw::detail {

namespace {

bool is_row_reduction(const Program& program, const Instruction& i) {
  if (i.op != &reduce_operator || i.attributes[0] > static_cast<int>(Reduction::min) || !i.attributes[2]) return false;
  const Type& x = program.types[i.inputs[0]];
  return is_floating(x.dtype) && !x.weak && x.shape.rank() > 0 && i.attributes[1] == Index(1) << (x.shape.rank() - 1) && x.shape.back() > 1;
}

bool space_of(const Program& program, const Instruction& i, Space& space) {
  const Type& out = program.types[i.first];
  Shape shape = out.shape;
  int code = elementwise_code(*i.op);
  if (code >= 0) {
    std::vector<const Type*> types;
    for (int v : i.inputs) types.push_back(&program.types[v]);
    DType dtype = operand_dtype(static_cast<op::Code>(code), types);
    space.dtype = is_floating(dtype) ? static_cast<int>(dtype) : dtype == DType::boolean ? -1 : static_cast<int>(DType::f64);
    space.alone = out.dtype == DType::i32 || out.dtype == DType::i64;  // whole numbers must be cut before anybody reads them
    if (code == op::code<op::Where> && is_floating(out.dtype)) space.dtype = static_cast<int>(out.dtype);
  } else if (is_row_reduction(program, i)) {
    shape = program.types[i.inputs[0]].shape;
    space.dtype = static_cast<int>(out.dtype);
    space.unsorted = true;
  } else if (i.op == &sum_steps_operator && program.types[i.inputs[0]] == Type{out.dtype, program.types[i.inputs[0]].shape} &&
             out.shape.size() > 1) {
    shape = program.types[i.inputs[0]].shape;
    space.dtype = static_cast<int>(out.dtype);
    if (shape.rank() > 2) space.order = i.attributes[0] ? -1 : 1;
  } else if (i.op == &sum_groups_operator && out.shape.back() > 1) {
    shape = program.types[i.inputs[0]].shape;
    space.dtype = static_cast<int>(out.dtype);
    if (shape.rank() > 2) space.order = i.attributes[2] ? -1 : 1;
  } else if (i.op == &random_operator || i.op == &positions_operator) {
    space.dtype = static_cast<int>(out.dtype);
    space.unsorted = true;
  } else {
    return false;
  }
  space.alone |= shape.size() == 0;  // such a space has no points, where narrow members would still have elements
  if (shape.rank() == 0) {
    space.columns = 0;
    return true;
  }
  space.columns = shape.back() == 1 && i.op != &positions_operator ? 0 : shape.back();  // positions differ from column to column
  shape.erase(shape.rank() - 1);
  space.lead = shape;
  return true;
}

/// sum over all of [.., C] -> row sums, then the sum of these; so the elementwise work before it need not be written.
void split_reductions(Program& program) {
  std::vector<Instruction> code;
  for (auto& i : program.code) {
    const Type x = i.inputs.empty() ? Type{} : program.types[i.inputs[0]];
    int rank = x.shape.rank();
    bool sum =
        i.op == &reduce_operator && i.attributes[0] == static_cast<int>(Reduction::sum) && is_floating(x.dtype) && !x.weak && rank > 0;
    Index last = sum ? Index(1) << (rank - 1) : 0;
    if (sum && (i.attributes[1] & last) && (i.attributes[1] != last || !i.attributes[2]) && x.shape.back() > 1) {
      Instruction rows = i;
      rows.attributes = {i.attributes[0], last, 1};
      Type narrow = x;
      narrow.shape[rank - 1] = 1;
      rows.first = program.add_value(narrow);
      i.inputs[0] = rows.first;
      code.push_back(std::move(rows));
    }
    code.push_back(std::move(i));
  }
  program.code = std::move(code);
}

/// Elementwise work on what is one value a row in all columns, and on numbers, is done once a row, and its result repeated.
void narrow_repeated(Program& program) {
  std::vector<int> narrow(program.types.size(), -1);  // what is repeated along the last axis to make a value
  std::vector<Instruction> code;
  for (auto& i : program.code) {
    const Type out = program.types[i.first];
    const int rank = out.shape.rank();
    if (i.op == &broadcast_operator && rank > 0 && out.shape.back() > 1) {
      const Shape& from = program.types[i.inputs[0]].shape;
      Shape rows = out.shape;
      rows[rank - 1] = 1;
      if (from == rows) narrow[i.first] = i.inputs[0];
    }
    int row = -1;
    bool all = elementwise_code(*i.op) >= 0 && rank > 0;
    for (int v : i.inputs) {
      if (narrow[v] >= 0 && program.types[v].shape == out.shape) row = narrow[v];
      all = all && (program.types[v].shape.rank() == 0 || (narrow[v] >= 0 && program.types[v].shape == out.shape));
    }
    if (all && row >= 0) {
      Instruction once = i, repeat;
      for (int& v : once.inputs)
        if (narrow[v] >= 0) v = narrow[v];
      once.first = program.add_value({out.dtype, program.types[row].shape});
      repeat.op = &broadcast_operator;
      repeat.inputs = {once.first};
      repeat.first = i.first;
      narrow.resize(program.types.size(), -1);
      narrow[i.first] = once.first;
      code.push_back(std::move(once));
      i = std::move(repeat);
    }
    code.push_back(std::move(i));
  }
  program.code = std::move(code);
}

/// Elementwise work reads through broadcast_to, for it broadcasts by itself, as long as one operand has the result's columns.
void skip_broadcasts(Program& program) {
  auto made = producers(program);
  for (auto& i : program.code) {
    if (elementwise_code(*i.op) < 0) continue;
    const Shape& out = program.types[i.first].shape;
    auto wide = [&](int v) {
      return out.rank() == 0 || out.back() == 1 || (program.types[v].shape.rank() > 0 && program.types[v].shape.back() == out.back());
    };
    for (std::size_t k = 0; k < i.inputs.size(); ++k) {
      int v = i.inputs[k];
      while (made[v] >= 0 && program.code[made[v]].op == &broadcast_operator && !program.types[program.code[made[v]].inputs[0]].weak)
        v = program.code[made[v]].inputs[0];
      bool other = wide(v);
      for (std::size_t j = 0; j < i.inputs.size(); ++j) other |= j != k && wide(i.inputs[j]);
      if (other) i.inputs[k] = v;
    }
  }
}

/// Emits region `r` of these instructions, of which some may be other regions' that it makes again.
void emit_region(const Regions& all, int r, std::vector<int> members, const std::vector<char>& written, Program& to,
                 std::vector<int>& number) {
  const Program& from = all.program;
  auto is_result = [&](int n) { return all.member[n] == r && written[from.code[n].first]; };
  std::unordered_set<int> needed;
  for (auto n = members.rbegin(); n != members.rend(); ++n) {
    const auto& c = from.code[*n];
    if (is_result(*n)) needed.insert(c.first);
    if (needed.contains(c.first)) needed.insert(c.inputs.begin(), c.inputs.end());
  }
  std::erase_if(members, [&](int n) { return !needed.contains(from.code[n].first); });
  if (members.empty()) return;  // its readers make all of it again
  Program body;
  std::unordered_map<int, int> inside;  // value of the program -> of the body
  std::vector<int> inputs;
  std::vector<Type> results;
  std::vector<int> outer;
  for (int m : members) {
    Instruction c = from.code[m];
    for (int& v : c.inputs) {
      auto [there, fresh] = inside.try_emplace(v, -1);
      if (fresh) {
        there->second = body.add_input(from.types[v]);
        inputs.push_back(number[v]);
      }
      v = there->second;
    }
    inside[c.first] = body.add_value(from.types[c.first]);
    int original = c.first;
    c.first = inside[original];
    body.code.push_back(std::move(c));
    if (is_result(m)) {
      body.outputs.push_back(inside[original]);
      results.push_back(from.types[original]);
      outer.push_back(original);
    }
  }
  int first = to.append(region_operator, {}, std::move(inputs), results, make_body(std::move(body), 0, 0));
  for (std::size_t k = 0; k < outer.size(); ++k) number[outer[k]] = first + static_cast<int>(k);
}

/// Regions of at most `largest` instructions.
void group(Program& program, int largest) {
  auto made = producers(program);
  std::vector<Region> regions;
  std::vector<int> member(program.code.size(), -1), level(program.code.size());
  auto find = [&](int r) { return home_of(regions, r); };
  // Whether a region that reads what an instruction makes may be the instruction's own: sums over rows are complete when all rows have run.
  auto takes_part = [&](int instruction) { return member[instruction] >= 0 && !sums_rows(*program.code[instruction].op); };
  auto level_of = [&](int instruction) { return member[instruction] >= 0 ? regions[find(member[instruction])].level : level[instruction]; };

  for (std::size_t n = 0; n < program.code.size(); ++n) {
    const auto& c = program.code[n];
    int lowest = 0;  // above every operand
    for (int v : c.inputs)
      if (made[v] >= 0) lowest = std::max(lowest, level_of(made[v]) + 1);
    Space space;
    if (!space_of(program, c, space)) {
      level[n] = c.op == &constant_operator ? -1 : is_computed(*c.op) ? lowest : std::max(lowest - 1, 0);
      continue;
    }
    int home = -1;
    for (int v : c.inputs) {  // the regions of the highest operands may take it, if all others lie below
      int p = made[v];
      if (p < 0 || !takes_part(p) || level_of(p) != lowest - 1) continue;
      int r = find(member[p]);
      if (r == home) continue;
      if (home < 0) {
        if (fits(regions[r].space, space) && regions[r].size < largest) home = r;
      } else if (fits(regions[r].space, regions[home].space) && fits(regions[r].space, space) &&
                 regions[r].size + regions[home].size < largest) {
        Region& a = regions[home];
        Region& b = regions[r];
        widen(a.space, b.space);
        a.size += b.size;
        b.into = home;
      }
    }
    bool joins = home >= 0;
    for (int v : c.inputs)
      if (joins && made[v] >= 0 && level_of(made[v]) == lowest - 1) joins = takes_part(made[v]) && find(member[made[v]]) == home;
    if (!joins) {
      home = static_cast<int>(regions.size());
      regions.push_back({space, lowest, 0, -1});
    }
    Region& r = regions[home];
    widen(r.space, space);
    ++r.size;
    member[n] = home;
    level[n] = r.level;
  }

  const Regions all{program, made, regions, member, largest};
  join_readers(all);
  join_neighbours(all);

  std::vector<std::vector<int>> groups(regions.size());
  std::vector<int> order;
  for (std::size_t n = 0; n < program.code.size(); ++n) {
    if (member[n] >= 0) {
      int r = find(member[n]);
      member[n] = r;
      level[n] = regions[r].level;
      if (groups[r].empty()) order.push_back(static_cast<int>(n));
      groups[r].push_back(static_cast<int>(n));
    } else {
      order.push_back(static_cast<int>(n));
    }
  }
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return level[a] < level[b]; });

  std::vector<char> written(program.types.size());
  for (std::size_t n = 0; n < program.code.size(); ++n)
    for (int v : program.code[n].inputs)
      if (made[v] >= 0 && (member[n] < 0 || member[made[v]] != member[n])) written[v] = 1;
  for (int v : program.outputs) written[v] = 1;
  remake(all, groups, written);

  Program result;
  std::vector<int> number(program.types.size(), -1);
  for (int v : program.inputs) number[v] = result.add_input(program.types[v]);
  for (int n : order) {
    const bool lone_sum = member[n] >= 0 && sums_rows(*program.code[n].op) && groups[member[n]].size() == 1;  // it has a kernel
    if (member[n] >= 0 && !lone_sum) {
      emit_region(all, member[n], groups[member[n]], written, result, number);
      continue;
    }
    Instruction c = program.code[n];
    for (int& v : c.inputs) v = number[v];
    int first = static_cast<int>(result.types.size());
    for (int k = 0; k < c.count; ++k) number[c.first + k] = result.add_value(program.types[c.first + k]);
    c.first = first;
    result.code.push_back(std::move(c));
  }
  for (int v : program.outputs) result.outputs.push_back(number[v]);
  program = std::move(result);
}

}  // namespace

void fuse(Program& program) {
  constexpr int largest = 96;  // registers of the tile machine stay in L1
  split_reductions(program);
  narrow_repeated(program);
  skip_broadcasts(program);
  remove_dead_code(program);
  group(program, largest);
}

void fuse_nothing(Program& program) { group(program, 1); }

}  // namespace rw::detail

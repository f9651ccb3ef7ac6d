// Roll: a loop that was written by hand and recorded step by step becomes a scan, and so does the part of it that `gradients` recorded.
//
// Each run (runs.hpp) becomes a scan. Its xs are elements of one stacked value in order (forward or backward in time), else concatenations.
// Parts x[t] are read where their starts point when the plan runs, so any starts are right. Values that are read behind the run become ys,
// or the last value of a carry. A run whose wiring does not fit stays as it is.
#include <algorithm>
#include <map>
#include <rewind/autograd/operator.hpp>
#include <rewind/autograd/passes/passes.hpp>
#include <rewind/autograd/passes/runs.hpp>
#include <rewind/autograd/passes/stacked.hpp>
#include <utility>

namespace rw::detail {

namespace {

class Roller : StackedProgram, Runs {
 public:
  explicit Roller(Program& program) : Runs(program), number_(p_.types.size(), -1) {
    for (int v : p_.inputs) number_[v] = add_input(p_.types[v]);
  }

  /// False if nothing repeats.
  bool run() {
    int next = 0, n = static_cast<int>(p_.code.size());
    bool any = false;
    each_run([&](const Run& r, int) {
      for (; next < r.begin; ++next) keep(p_.code[next]);
      emit(r);
      any = true;
      return next = r.end();
    });
    if (!any) return false;
    for (; next < n; ++next) keep(p_.code[next]);
    for (int v : p_.outputs) to_.outputs.push_back(number_[v]);
    p_ = std::move(to_);
    return true;
  }

 private:
  // ---- the scan --------------------------------------------------------------------------------------------------------------------

  void emit(const Run& r) {
    bool reverse = false;
    for (const auto& x : xs_) {
      const Element &a = element_[number_[x.values[0]]], &b = element_[number_[x.values[1]]];
      reverse |= a.source >= 0 && a.source == b.source && b.index == a.index - 1;
    }
    Program body;
    std::vector<int> inner(p_.types.size(), -1), carry_in, x_in, capture_in, inputs;
    for (const auto& c : carries_) carry_in.push_back(body.add_input(c.type)), inputs.push_back(number_[c.first]);
    for (const auto& x : xs_) x_in.push_back(body.add_input(x.type)), inputs.push_back(stacked(x, reverse));
    for (int v : captures_) capture_in.push_back(body.add_input(p_.types[v])), inputs.push_back(number_[v]);
    std::size_t at = 0;
    for (int j = r.begin; j < r.begin + r.period; ++j) {
      Instruction c = p_.code[j];
      for (int& v : c.inputs) {
        const Operand& o = operands_[at++];
        if (o.kind == Kind::constant) {
          v = inner[o.index] >= 0
                  ? inner[o.index]
                  : inner[o.index] = body.append(constant_operator, p_.code[made_[o.index]].attributes, {}, p_.types[o.index]);
          continue;
        }
        v = o.kind == Kind::inside ? inner[o.index] : (o.kind == Kind::carry ? carry_in : o.kind == Kind::x ? x_in : capture_in)[o.index];
      }
      int first = static_cast<int>(body.types.size());
      for (int k = 0; k < c.count; ++k) inner[c.first + k] = body.add_value(p_.types[c.first + k]);
      c.first = first;
      body.code.push_back(std::move(c));
    }
    std::vector<Type> results;
    std::map<int, int> carried;  // value of piece 0 -> the carry that holds it last
    for (std::size_t c = 0; c < carries_.size(); ++c) {
      body.outputs.push_back(carries_[c].behind < 0 ? inner[carries_[c].made] : carry_in[carries_[c].behind]);
      results.push_back(carries_[c].type);
      if (carries_[c].behind < 0) carried[carries_[c].made] = static_cast<int>(c);
    }
    struct Y {
      int value, result;
    };
    std::vector<Y> ys, lasts;
    for (int j = r.begin; j < r.begin + r.period; ++j)
      for (int v = p_.code[j].first; v < p_.code[j].first + p_.code[j].count; ++v) {
        auto c = carried.find(v);
        bool has_last = c != carried.end();
        if (has_last) lasts.push_back({v, c->second});
        if (!read_behind(r, v, 0, has_last ? r.count - 1 : r.count)) continue;
        ys.push_back({v, static_cast<int>(results.size())});
        body.outputs.push_back(inner[v]);
        Type type = p_.types[v];
        type.shape.insert(0, r.count);
        results.push_back(type);
      }
    auto made = make_body(std::move(body), static_cast<int>(carries_.size()), static_cast<int>(xs_.size()));
    int first = append(scan_operator, {reverse, r.count}, std::move(inputs), results, std::move(made));
    for (const auto& y : lasts) number_[peer(r, y.value, r.count - 1)] = first + y.result;
    for (const auto& y : ys)
      for (int q = 0; q < r.count; ++q)
        if (int v = peer(r, y.value, q); last_reader_[v] >= r.end())
          number_[v] = element(first + y.result, reverse ? r.count - 1 - q : q, p_.types[v]);
  }

  /// What an x reads, in the order of time.
  int stacked(const X& x, bool reverse) {
    std::vector<int> values;
    for (int v : x.values) values.push_back(number_[v]);
    if (reverse) std::reverse(values.begin(), values.end());
    Type type = x.type;
    type.shape.insert(0, static_cast<Index>(values.size()));
    if (p_.types[x.values[0]].weak) {
      for (int& v : values) v = whole(append(cast_operator, {}, {v}, {x.type}), x.type);
    } else {
      values = ranges(values, x.type);
    }
    return values.size() == 1 ? values[0] : append(concatenate_operator, {0}, std::move(values), {type});
  }

  /// A value as a stack of one.
  int whole(int v, Type type) {
    type.shape.insert(0, 1);
    return append(reshape_operator, {}, {v}, {type});
  }

  /// The same values as stacks, one for those in a row that are elements of one stack in order, forward or backward.
  std::vector<int> ranges(const std::vector<int>& values, const Type& type) {
    std::vector<int> parts;
    for (std::size_t begin = 0, end; begin < values.size(); begin = end) {
      end = begin + 1;
      const Element first = element_[values[begin]];
      Index step = 0;
      for (; first.source >= 0 && end < values.size(); ++end) {
        const Element &e = element_[values[end]], &before = element_[values[end - 1]];
        if (step == 0 && (e.index == before.index + 1 || e.index == before.index - 1)) step = e.index - before.index;
        if (e.source != first.source || step == 0 || e.index != before.index + step) break;
      }
      auto count = static_cast<Index>(end - begin);
      if (count == 1) {
        parts.push_back(whole(values[begin], type));
        continue;
      }
      Type stack = type;
      stack.shape.insert(0, count);
      int v = range(first.source, step > 0 ? first.index : first.index - count + 1, count, stack);
      parts.push_back(step > 0 ? v : append(flip_operator, {1}, {v}, {stack}));
    }
    return parts;
  }

  // ---- the program that comes out --------------------------------------------------------------------------------------------------

  void keep(const Instruction& c) {
    Instruction i = c;
    for (int& v : i.inputs) v = number_[v];
    if (c.op == &concatenate_operator && c.attributes[0] == 0 && i.inputs.size() > 1 && in_order(i.inputs, 1)) {  // it is stacked already
      const Element first = element_[i.inputs[0]];
      number_[c.first] = range(first.source, first.index, static_cast<Index>(i.inputs.size()), p_.types[c.first]);
      return;
    }
    i.first = static_cast<int>(to_.types.size());
    for (int k = 0; k < c.count; ++k) number_[c.first + k] = to_.add_value(p_.types[c.first + k]);
    to_.code.push_back(std::move(i));
    note(to_.code.back());
  }

  std::vector<int> number_;
};

}  // namespace

void roll(Program& program) {
  auto heavy = std::count_if(program.code.begin(), program.code.end(), [](const auto& c) { return c.op->heavy(); });
  if (heavy < Run::least_pieces) return;
  Program trial = program;
  complete_loops(trial);
  if (!Roller(trial).run()) return;
  program = std::move(trial);
  remove_dead_code(program);
  merge_common(program);
}

}  // namespace rw::detail

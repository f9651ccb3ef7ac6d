// Sink: what a body only emits or accumulates leaves the loop behind it. The per-step factors become ys, and one large product over all
// steps replaces many small ones: gradients of weights (accumulated a^T b), of biases (accumulated row sums), of tables (rows accumulated
// by index) and of x (emitted products). What is summed and cheap to make of what is stacked anyway, as a gradient times a normalised x, is
// made again behind the loop, where it runs together with the sum, rather than stacked itself.
//
// Sums by groups of rows (group_sums.cpp) stay inside, unless threads could not divide the groups as evenly as they divide rows. Of rows
// that are no such and would be stacked for their sum alone, one thread adds up the sum in the loop.
#include <algorithm>
#include <rewind/autograd/operator.hpp>
#include <rewind/autograd/passes/groups.hpp>
#include <rewind/autograd/passes/lift.hpp>
#include <rewind/autograd/passes/passes.hpp>
#include <rewind/core/kernels.hpp>
#include <rewind/core/team.hpp>
#include <set>

namespace rw::detail {

namespace {

/// An accumulating carry: next = carry + addend, and nobody else reads it.
struct Accumulator {
  int carry;
  int add;          ///< the instruction
  int addend;       ///< value of the body
  Index group = 0;  ///< it adds the addend's rows, so many to each of its own
};

class Sinker {
 public:
  Sinker(const Instruction& scan, Program& to, Instruction& result)
      : scan_(scan), body_(*scan.body), p_(body_.program), to_(to), result_(result) {}

  /// False if nothing is to be moved. Otherwise appends the scan and what follows it, and tells where its results are.
  bool run(const Program& from, std::vector<int>& number) {
    made_ = producers(p_);
    uses_ = count_uses(p_);
    find_accumulators();
    find_dead_ends();
    choose();
    choose_stacked();
    if (std::find(move_.begin(), move_.end(), 1) == move_.end() && taken_.empty() && kept_.empty()) return false;
    emit(from, number);
    return true;
  }

 private:
  void find_accumulators() {
    for (int c = 0; c < body_.carries; ++c) {
      int m = made_[p_.outputs[c]], in = p_.inputs[c];
      if (m < 0 || uses_[in] != 1 || uses_[p_.outputs[c]] != 1) continue;
      const auto& add = p_.code[m].inputs;
      if (p_.code[m].op == &sum_groups_operator && add[1] == in) accumulators_.push_back({c, m, add[0], p_.code[m].attributes[0]});
      if (p_.code[m].op != &elementwise_operator(op::code<op::Add>) || (add[0] == in) == (add[1] == in)) continue;
      int addend = add[0] == in ? add[1] : add[0];
      if (p_.types[addend].shape == p_.types[in].shape && is_floating(p_.types[in].dtype)) accumulators_.push_back({c, m, addend});
    }
  }

  /// Instructions whose results reach no carry but the accumulating ones.
  void find_dead_ends() {
    std::vector<char> feeds(p_.types.size());
    for (int c = 0; c < body_.carries; ++c) feeds[p_.outputs[c]] = 1;
    for (const auto& a : accumulators_) feeds[p_.outputs[a.carry]] = 0;
    dead_end_.assign(p_.code.size(), 1);
    for (std::size_t i = p_.code.size(); i-- > 0;) {
      const auto& c = p_.code[i];
      for (int k = 0; k < c.count; ++k)
        if (feeds[c.first + k]) dead_end_[i] = 0;
      if (!dead_end_[i])
        for (int v : c.inputs) feeds[v] = 1;
    }
  }

  bool constant(int v) const {  // a capture, or made of such
    if (made_[v] < 0) {
      auto at = std::find(p_.inputs.begin(), p_.inputs.end(), v) - p_.inputs.begin();
      return at >= body_.carries + body_.xs;
    }
    const auto& c = p_.code[made_[v]];
    return !differs_by_step(c) && std::all_of(c.inputs.begin(), c.inputs.end(), [&](int x) { return constant(x); });
  }

  /// Whether an accumulator's addend is a sum over rows that one kernel can make of stacked factors.
  bool is_product(int v) const {
    if (made_[v] < 0) return false;
    const auto& c = p_.code[made_[v]];
    return c.op == &matmul_operator && c.attributes[0] && !c.attributes[1] && p_.types[c.inputs[0]].shape.rank() == 2 && uses_[v] == 1 &&
           p_.types[c.inputs[0]].dtype == p_.types[v].dtype && p_.types[c.inputs[1]].dtype == p_.types[v].dtype;
  }
  bool is_scatter(int v) const {
    if (made_[v] < 0 || uses_[v] != 1) return false;
    const auto& c = p_.code[made_[v]];
    return c.op == &scatter_add_operator && p_.types[c.inputs[0]].shape.rank() == 2 && p_.types[c.inputs[1]].shape.rank() == 1;
  }
  /// Whether an instruction adds to one of these: by index, or the sum itself.
  bool adds(const std::vector<Accumulator>& list, std::size_t i) const {
    const int n = static_cast<int>(i);
    return std::any_of(list.begin(), list.end(),
                       [&](const auto& a) { return a.add == n || (made_[a.addend] == n && is_scatter(a.addend)); });
  }
  bool is_reshape(int v) const { return made_[v] >= 0 && p_.code[made_[v]].op == &reshape_operator; }
  /// A reshape of a row sum counts as the row sum.
  int row_sum(int v) const {
    while (is_reshape(v) && uses_[v] == 1) v = p_.code[made_[v]].inputs[0];
    if (made_[v] < 0 || uses_[v] != 1) return -1;
    const auto& c = p_.code[made_[v]];
    if (c.op != &reduce_operator || c.attributes[0] != static_cast<int>(Reduction::sum)) return -1;
    int rank = p_.types[c.inputs[0]].shape.rank();
    if (rank < 2 || p_.types[c.inputs[0]].dtype != p_.types[v].dtype) return -1;
    return c.attributes[1] == (Index(1) << (rank - 1)) - 1 ? v : -1;  // all axes but the last
  }

  void choose() {
    move_.assign(p_.code.size(), 0);
    // Emitted products, and whatever reads them: all of it is a dead end, and must be liftable.
    for (std::size_t i = 0; i < p_.code.size(); ++i) {
      const auto& c = p_.code[i];
      if (!dead_end_[i]) continue;
      bool product = c.op == &matmul_operator && !c.attributes[0] && constant(c.inputs[1]) && !constant(c.inputs[0]) &&
                     p_.types[c.inputs[1]].shape.rank() == 2;
      bool reads_moved = false;
      for (int v : c.inputs) reads_moved |= made_[v] >= 0 && move_[made_[v]];
      if (product || reads_moved) move_[i] = 1;
    }
    // If something that reads a moved value cannot be moved, nothing of the kind is.
    Program trial = to_;
    Lifter lifter(trial, p_, scan_.attributes);
    bind_all(lifter, trial);
    for (std::size_t i = 0; i < p_.code.size(); ++i) {
      if (!move_[i]) continue;
      if (adds(accumulators_, i)) {
        move_[i] = 0;
        continue;
      }
      if (!lifter.lift(p_.code[i])) {
        move_.assign(p_.code.size(), 0);
        break;
      }
    }
    constexpr Index small = 1 << 16;  // elements: an addend of no special form is stacked only if that takes little memory
    for (const auto& a : accumulators_) {
      const bool from_moved = is_moved(a.addend);
      if (a.group > 0) {
        const Index batch = p_.types[a.addend].shape[0], groups = p_.types[p_.inputs[a.carry]].shape[0];
        if (from_moved || !divides_evenly(batch, batch / groups, threads())) taken_.push_back(a);
        continue;
      }
      if (!dead_end_[made_[a.addend] >= 0 ? made_[a.addend] : a.add]) continue;
      if (is_product(a.addend) || is_scatter(a.addend) || row_sum(a.addend) >= 0 || from_moved ||
          p_.types[a.addend].shape.size() * scan_.attributes[1] <= small)
        taken_.push_back(a);
    }
    for (const auto& a : accumulators_) {  // a moved value that an accumulator needs inside cannot leave
      bool taken = std::any_of(taken_.begin(), taken_.end(), [&](const auto& t) { return t.carry == a.carry; });
      if (!taken && is_moved(a.addend)) move_.assign(p_.code.size(), 0), taken_.clear();
    }
  }

  bool is_moved(int v) const { return made_[v] >= 0 && move_[made_[v]]; }
  /// The value whose rows an accumulator sums, stacked; -1 if it is none or has moved.
  int summed(const Accumulator& a) const {
    if (is_moved(a.addend)) return -1;
    if (a.group > 0) return a.addend;
    const int sum = row_sum(a.addend);
    return sum >= 0 ? p_.code[made_[sum]].inputs[0] : -1;
  }

  bool is_stacked(int v) const { return std::find(stacked_.begin(), stacked_.end(), v) != stacked_.end(); }
  /// `v` must be stacked, unless it does not change or moves itself.
  void stack(int v) {
    if (!is_moved(v) && !constant(v) && !is_stacked(v)) stacked_.push_back(v);
  }
  /// What is stacked: operands of what moves, from what stays.
  void choose_stacked() {
    again_.assign(p_.code.size(), 0);
    for (std::size_t i = 0; i < p_.code.size(); ++i)
      if (move_[i])
        for (int v : p_.code[i].inputs) stack(v);
    for (int o = body_.carries; o < static_cast<int>(p_.outputs.size()); ++o) stack(p_.outputs[o]);
    const auto of_factors = [&](const Accumulator& a) { return a.group == 0 && (is_product(a.addend) || is_scatter(a.addend)); };
    for (const auto& a : taken_)
      if (!is_moved(a.addend) && of_factors(a))
        for (int v : p_.code[made_[a.addend]].inputs) {
          for (; is_reshape(v); v = p_.code[made_[v]].inputs[0]) again_[made_[v]] = 1;  // a view of what is stacked, as it is of a step
          stack(v);
        }
    keep_sums();
    for (const auto& a : taken_) {
      if (is_moved(a.addend) || of_factors(a)) continue;
      const int v = summed(a);
      if (v >= 0 && made_[v] >= 0 && again_[made_[v]]) continue;
      if (v < 0 || made_[v] < 0 || elementwise_code(*p_.code[made_[v]].op) < 0 || !dead_end_[made_[v]]) stack(v >= 0 ? v : a.addend);
    }
    choose_again();
    for (const auto& a : taken_)  // what cannot be made again
      if (const int v = summed(a); v >= 0 && (made_[v] < 0 || !again_[made_[v]])) stack(v);
  }

  /// With one thread, sums stay whose rows would be stacked for them alone, if these are much more than the sum.
  void keep_sums() {
    if (threads() > 1) return;
    std::erase_if(taken_, [&](const Accumulator& a) {
      const int v = summed(a);
      if (a.group > 0 || v < 0 || made_[v] < 0 || constant(v) || is_stacked(v) || again_[made_[v]]) return false;
      const Shape &rows = p_.types[v].shape, &sum = p_.types[p_.inputs[a.carry]].shape;
      const Index columns = rows.back();
      const bool same_form = sum.rank() > 0 && sum.rank() <= rows.rank() && sum.size() == columns && sum.back() == columns;
      if (!same_form || rows.rank() > 3 || rows.size() < 4 * columns) return false;
      kept_.push_back(a);
      return true;
    });
  }

  /// Chooses what is made again behind the loop, given what is stacked otherwise.
  void choose_again() {
    std::vector<char> there(p_.types.size());
    for (int v : stacked_) there[v] = 1;
    for (int x = 0; x < body_.xs; ++x) there[p_.inputs[body_.carries + x]] = 1;
    for (const auto& a : taken_) {
      const int v = summed(a);
      std::set<int> read;
      if (v < 0 || there[v] || made_[v] < 0 || !dead_end_[made_[v]] || !can_be_made(v, there, read)) continue;
      Index elements = 0;  // reading two for one written and read is no loss
      for (int x : read) elements += p_.types[x].shape.size();
      if (elements <= 2 * p_.types[v].shape.size() + p_.types[v].shape.size() / 4) make_again(v, there);
    }
  }
  bool can_be_made(int v, const std::vector<char>& there, std::set<int>& read) const {
    if (constant(v)) return true;
    if (there[v]) return read.insert(v), true;
    if (made_[v] < 0) return false;
    const auto& c = p_.code[made_[v]];
    if (elementwise_code(*c.op) < 0 || !c.op->cheap(c)) return false;
    return std::all_of(c.inputs.begin(), c.inputs.end(), [&](int x) { return can_be_made(x, there, read); });
  }
  void make_again(int v, const std::vector<char>& there) {
    if (there[v] || constant(v)) return;
    again_[made_[v]] = 1;
    for (int x : p_.code[made_[v]].inputs) make_again(x, there);
  }

  /// For the trial: every value of the body, stacked.
  void bind_all(Lifter& lifter, Program& trial) const {
    for (std::size_t v = 0; v < p_.types.size(); ++v) {
      if (made_[v] >= 0 && move_[made_[v]]) continue;
      bool fixed = constant(static_cast<int>(v));
      Type t = p_.types[v];
      if (!fixed) t.shape.insert(0, scan_.attributes[1]);
      lifter.bind(static_cast<int>(v), trial.add_value(t), !fixed);
    }
  }

  void emit(const Program& from, std::vector<int>& number) {
    Index steps = scan_.attributes[1];
    std::vector<char> is_taken(body_.carries);
    for (const auto& a : taken_) is_taken[a.carry] = 1;
    // The loop without what moved.
    Program loop;
    loop.types = p_.types;
    std::vector<int> outer_inputs;
    int carries = 0;
    for (std::size_t k = 0; k < p_.inputs.size(); ++k) {
      if (static_cast<int>(k) < body_.carries && is_taken[k]) continue;
      loop.inputs.push_back(p_.inputs[k]);
      outer_inputs.push_back(result_.inputs[k]);
      if (static_cast<int>(k) < body_.carries) ++carries;
    }
    for (int c = 0; c < body_.carries; ++c)
      if (!is_taken[c]) loop.outputs.push_back(p_.outputs[c]);
    std::vector<int> y_of(p_.types.size(), -1), is_x(p_.types.size(), -1);
    for (int x = 0; x < body_.xs; ++x) is_x[p_.inputs[body_.carries + x]] = result_.inputs[body_.carries + x];
    for (int v : stacked_) {
      if (is_x[v] >= 0) continue;  // it is stacked already
      y_of[v] = static_cast<int>(loop.outputs.size());
      loop.outputs.push_back(v);
    }
    for (std::size_t i = 0; i < p_.code.size(); ++i)
      if (!move_[i] && !adds(taken_, i)) loop.code.push_back(inside(static_cast<int>(i)));
    Instruction scan = result_;
    scan.inputs = outer_inputs;
    scan.first = static_cast<int>(to_.types.size());
    scan.count = static_cast<int>(loop.outputs.size());
    for (std::size_t o = 0; o < loop.outputs.size(); ++o) {
      Type t = loop.types[loop.outputs[o]];
      if (static_cast<int>(o) >= carries) t.shape.insert(0, steps);
      to_.add_value(t);
    }
    remove_dead_code(loop);
    scan.body = make_body(std::move(loop), carries, body_.xs);
    int first = scan.first;
    to_.code.push_back(std::move(scan));

    // Behind the loop.
    Lifter lifter(to_, p_, scan_.attributes);
    for (std::size_t v = 0; v < p_.types.size(); ++v) {
      if (is_x[v] >= 0) lifter.bind(static_cast<int>(v), is_x[v], true);
      if (y_of[v] >= 0) lifter.bind(static_cast<int>(v), first + y_of[v], true);
    }
    for (std::size_t k = static_cast<std::size_t>(body_.carries + body_.xs); k < p_.inputs.size(); ++k)
      lifter.bind(p_.inputs[k], result_.inputs[k], false);
    for (std::size_t i = 0; i < p_.code.size(); ++i)  // what is constant may have been made inside
      if (!lifter.has(p_.code[i].first) && (move_[i] || again_[i] || constant(p_.code[i].first))) lifter.lift(p_.code[i]);
    int at = first;
    for (int c = 0; c < body_.carries; ++c)
      if (!is_taken[c]) number[scan_.first + c] = at++;
    for (const auto& a : taken_) number[scan_.first + a.carry] = accumulate(lifter, a);
    for (int o = body_.carries; o < static_cast<int>(p_.outputs.size()); ++o) {
      int v = p_.outputs[o], outer = lifter.outer(v);
      if (!lifter.lifted(v)) outer = to_.append(broadcast_operator, {}, {outer}, from.types[scan_.first + o]);
      number[scan_.first + o] = outer;
    }
  }

  /// Instruction `n` in the loop, where it may be a sum that goes on from its carry.
  Instruction inside(int n) const {
    Instruction c = p_.code[n];
    for (const auto& a : kept_)
      if (a.add == n) c.op = &sum_steps_operator, c.inputs = {summed(a), p_.inputs[a.carry]};
    return c;
  }

  /// The last value of an accumulator: one long sum that starts from its first.
  int accumulate(Lifter& lifter, const Accumulator& a) {
    Type type = p_.types[p_.inputs[a.carry]];
    Attributes direction{scan_.attributes[0]};
    auto stacked = [&](int v) {  // a factor that does not change from step to step is repeated
      if (lifter.lifted(v)) return lifter.outer(v);
      Type t = p_.types[v];
      t.shape.insert(0, scan_.attributes[1]);
      return to_.append(broadcast_operator, {}, {lifter.outer(v)}, t);
    };
    int first = result_.inputs[a.carry];
    const bool zero = zero_constant(to_, producers(to_), first), moved = is_moved(a.addend);
    if (a.group > 0) {
      std::vector<int> inputs{stacked(a.addend)};
      if (!zero) inputs.push_back(first);
      return to_.append(sum_groups_operator, {a.group, scan_.attributes[1], scan_.attributes[0]}, std::move(inputs), type);
    }
    int sum = moved ? -1 : row_sum(a.addend);
    if (bool product = is_product(a.addend); !moved && (product || is_scatter(a.addend))) {
      const auto& c = p_.code[made_[a.addend]];
      std::vector<int> inputs{stacked(c.inputs[0]), stacked(c.inputs[1])};
      if (!zero) inputs.push_back(first);
      return to_.append(product ? matmul_steps_operator : scatter_add_steps_operator, direction, std::move(inputs), type);
    }
    int v = sum >= 0 ? p_.code[made_[sum]].inputs[0] : a.addend;
    Index columns = sum >= 0 ? p_.types[v].shape.back() : p_.types[v].shape.size();
    Index rows = columns ? p_.types[v].shape.size() / columns : 0;
    Type flat{type.dtype, Shape{scan_.attributes[1], rows, columns}}, column{type.dtype, Shape{columns}};
    int whole = stacked(v);
    std::vector<int> inputs{to_.types[whole] == flat ? whole : to_.append(reshape_operator, {}, {whole}, flat)};
    if (!zero) inputs.push_back(to_.append(reshape_operator, {}, {first}, column));
    int total = to_.append(sum_steps_operator, direction, std::move(inputs), column);
    return to_.append(reshape_operator, {}, {total}, type);
  }

  const Instruction& scan_;
  const Body& body_;
  const Program& p_;
  Program& to_;
  Instruction& result_;
  std::vector<int> made_, uses_;
  std::vector<Accumulator> accumulators_, taken_;
  std::vector<Accumulator> kept_;              ///< sums over rows that stay in the loop
  std::vector<int> stacked_;                   ///< values of the body
  std::vector<char> dead_end_, move_, again_;  ///< of each instruction
};

}  // namespace

void sink(Program& program) {
  const bool any = rewrite_loops(program, [&](const Instruction& was, Instruction& now, Program& to, std::vector<int>& number) {
    return Sinker(was, to, now).run(program, number);
  });
  if (any) remove_dead_code(program);
}

}  // namespace rw::detail

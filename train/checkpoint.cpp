#include <rewind/core/format.hpp>
#include <rewind/core/random.hpp>
#include <rewind/train/checkpoint.hpp>

#include <algorithm>

namespace rw::train {

bool Checkpoint::has_below(const std::string& prefix) const {
  const auto at = tensors_.lower_bound(prefix + '.');
  return at != tensors_.end() && at->first.starts_with(prefix + '.');
}

Checkpoint Checkpoint::read(const std::string& path) {
  io::SafetensorsFile file = io::load_safetensors(path);
  Checkpoint result;
  result.path_ = path;
  result.words_ = std::move(file.metadata);
  for (auto& [name, tensor] : file.tensors) result.tensors_.emplace(name, tensor);
  return result;
}

void Checkpoint::write(const std::string& path) const {
  Notes words = words_;
  words.emplace("format", "pt");
  io::save_safetensors(path, {tensors_.begin(), tensors_.end()}, words);
}

const Tensor& Checkpoint::tensor(const std::string& name) const {
  const auto at = tensors_.find(name);
  if (at == tensors_.end()) fail<IoError>("load: {}: no tensor {} in the file (was it saved from the same pieces?)", path_, name);
  return at->second;
}

NamedTensors Checkpoint::below(const std::string& prefix) const {
  if (prefix.empty()) return {tensors_.begin(), tensors_.end()};
  NamedTensors result;
  for (auto at = tensors_.lower_bound(prefix + '.'); at != tensors_.end() && at->first.starts_with(prefix + '.'); ++at)
    result.emplace_back(at->first.substr(prefix.size() + 1), at->second);
  return result;
}

void load_parameters(const Checkpoint& from, const std::string& prefix, const ParameterList& to) {
  detail::check(from, prefix, to);
  for (const auto& [name, place] : to) place.set_value(from.tensor(prefix.empty() ? name : prefix + '.' + name));
}

namespace detail {

namespace {

Index integer(const Checkpoint& from, const std::string& name) {
  const Tensor& value = from.tensor(name);
  if (value.dtype() != DType::i64 || value.size() != 1)
    fail<IoError>("load: {}: {} is {} {} in the file, not one i64 (was it saved from the same pieces?)", from.path(), name, value.dtype(),
                  value.shape());
  return value.item<std::int64_t>();
}

std::string joined(const std::string& prefix, const std::string& name) { return prefix.empty() ? name : prefix + '.' + name; }

RandomKey random_key(const Checkpoint& from) {
  const Tensor& key = from.tensor("random");
  if (key.dtype() != DType::i64 || key.shape() != Shape{2})
    fail<IoError>("load: {}: random is {} {} in the file, not i64 [2] (was it saved by train::save?)", from.path(), key.dtype(),
                  key.shape());
  const Tensor dense = key.contiguous();
  const std::int64_t* words = dense.data<std::int64_t>();
  return {static_cast<std::uint64_t>(words[0]), static_cast<std::uint64_t>(words[1])};
}

}  // namespace

void put(Checkpoint& to, const std::string& prefix, const ParameterList& parameters) {
  for (const auto& [name, place] : parameters) to.put(joined(prefix, name), place.value().value());
}

void check(const Checkpoint& from, const std::string& prefix, const ParameterList& parameters) {
  for (const auto& [name, place] : parameters) {
    const std::string full = joined(prefix, name);
    if (!from.has(full)) fail<IoError>("load: {}: parameter {} is not in the file (same layers as when it was saved?)", from.path(), name);
    const Tensor& value = from.tensor(full);
    if (value.shape() != place.value().shape())
      fail<ShapeError>("load: {}: parameter {} is {} in the file, {} in the model (same sizes as when it was saved?)", from.path(), name,
                       value.shape(), place.value().shape());
    if (value.dtype() != place.value().dtype())
      fail<DTypeError>("load: {}: parameter {} is {} in the file, {} in the model (convert one with cast(model, dtype))", from.path(), name,
                       value.dtype(), place.value().dtype());
  }
  const NamedTensors saved = from.below(prefix);
  for (const auto& [name, value] : saved)
    if (std::none_of(parameters.begin(), parameters.end(), [&](const NamedParameter& p) { return p.name == name; }))
      fail<IoError>("load: {}: parameter {} of the file is not in the model (same layers as when it was saved?)", from.path(), name);
}

void put(Checkpoint& to, const std::string& prefix, const optim::OptimizerBase& optimizer) {
  for (const auto& [name, value] : optimizer.slots()) to.put(prefix + '.' + name, value);
  to.put(prefix, Tensor::scalar<std::int64_t>(optimizer.number()));
}

void restore(const Checkpoint& from, const std::string& prefix, optim::OptimizerBase& optimizer) {
  optimizer.restore(from.below(prefix), integer(from, prefix));
}

void put(Checkpoint& to, const std::string& prefix, const Stream& stream) {
  to.put(prefix, Tensor::scalar<std::int64_t>(stream.position()));
}

void check(const Checkpoint& from, const std::string& prefix, Stream stream) { stream.seek(integer(from, prefix)); }

void restore(const Checkpoint& from, const std::string& prefix, Stream& stream) { stream.seek(integer(from, prefix)); }

void put(Checkpoint& to, const std::string& prefix, const Notes& notes) {
  for (const auto& [name, word] : notes) to.put(prefix + '.' + name, word);
}

void restore(const Checkpoint& from, const std::string& prefix, Notes& notes) {
  notes.clear();
  for (const auto& [name, word] : from.words())
    if (name.starts_with(prefix + '.')) notes.emplace(name.substr(prefix.size() + 1), word);
}

void put_random(Checkpoint& to) {
  const RandomKey key = generator().state();
  to.put("random", Tensor::of<std::int64_t>({2}, {static_cast<std::int64_t>(key.seed), static_cast<std::int64_t>(key.stream)}));
}

void check_random(const Checkpoint& from) { random_key(from); }

void restore_random(const Checkpoint& from) {
  const RandomKey key = random_key(from);
  generator().restore(key);
}

}  // namespace detail

}  // namespace rw::train

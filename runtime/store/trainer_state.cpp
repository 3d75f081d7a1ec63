// trainer_state.json both ways, and reading the optimizer's tensors.
#include "runtime/store/trainer_state.hpp"

#include <charconv>
#include <nlohmann/json.hpp>

#include "kernels/base/check.hpp"
#include "runtime/store/json_file.hpp"

namespace sluice::store {
namespace {

using nlohmann::json;

constexpr int kFormat = 1;
constexpr std::uint64_t kStateBytesMax = 4u << 20;

json loss_to_json(const std::optional<double>& loss) { return loss ? json(*loss) : json(nullptr); }

std::string hexadecimal(std::uint64_t value) { return fmt::format("{:016x}", value); }

// The member `key`, or an error when it is absent or not of the type that `is` asks for.
Result<const json*> member(const json& object, const char* key, bool (json::*is)() const noexcept) {
  const auto it = object.find(key);
  if (it == object.end() || !((*it).*is)()) {
    return invalid_input("\"{}\" is missing or of a wrong type", key);
  }
  return &*it;
}

Result<std::int64_t> count(const json& object, const char* key) {
  SLUICE_ASSIGN(const json* value, member(object, key, &json::is_number_unsigned));
  if (value->get<std::uint64_t>() > std::uint64_t{1} << 62) {
    return invalid_input("\"{}\" is too large", key);
  }
  return value->get<std::int64_t>();
}

Result<std::string> text(const json& object, const char* key) {
  SLUICE_ASSIGN(const json* value, member(object, key, &json::is_string));
  return value->get<std::string>();
}

std::optional<double> loss(const json& object, const char* key) {
  const auto it = object.find(key);
  if (it == object.end() || !it->is_number()) return std::nullopt;
  return it->get<double>();
}

Result<std::uint64_t> digest_of(const json& object, const char* key) {
  SLUICE_ASSIGN(const std::string digits, text(object, key));
  std::uint64_t value = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  if (error != std::errc() || end != digits.data() + digits.size()) {
    return invalid_input("\"{}\" is not a hexadecimal number", key);
  }
  return value;
}

Result<TrainerState> state_from_json(const json& object) {
  if (!object.is_object()) return invalid_input("not a JSON object");
  SLUICE_ASSIGN(const std::int64_t format, count(object, "format"));
  if (format != kFormat) {
    return invalid_input("format {}, but this version reads {}", format, kFormat);
  }
  TrainerState state;
  SLUICE_ASSIGN(state.step, count(object, "step"));
  SLUICE_ASSIGN(state.samples_consumed, count(object, "samples_consumed"));
  SLUICE_ASSIGN(state.seed, count(object, "seed"));
  SLUICE_ASSIGN(state.numerics_digest, digest_of(object, "numerics_digest"));
  SLUICE_ASSIGN(state.recipe, text(object, "recipe"));
  SLUICE_ASSIGN(state.kernel_set, text(object, "kernel_set"));
  state.training_loss = loss(object, "training_loss");
  state.validation_loss = loss(object, "validation_loss");
  SLUICE_ASSIGN(const json* fewer, member(object, "fewer_updates", &json::is_object));
  for (const auto& [name, updates] : fewer->items()) {
    if (!updates.is_number_unsigned() ||
        updates.get<std::uint64_t>() > static_cast<std::uint64_t>(state.step)) {
      return invalid_input("updates of \"{:.200}\" are no number up to the step", name);
    }
    state.fewer_updates.emplace(name, updates.get<std::int64_t>());
  }
  SLUICE_ASSIGN(const json* files, member(object, "files", &json::is_object));
  for (const auto& [name, size] : files->items()) {
    if (!size.is_number_unsigned()) return invalid_input("size of \"{:.200}\" is no number", name);
    state.files.emplace(name, size.get<std::uint64_t>());
  }
  return state;
}

}  // namespace

std::string write_trainer_state(const TrainerState& state) {
  nlohmann::json object = {{"format", kFormat},
                           {"step", state.step},
                           {"samples_consumed", state.samples_consumed},
                           {"seed", state.seed},
                           {"numerics_digest", hexadecimal(state.numerics_digest)},
                           {"recipe", state.recipe},
                           {"kernel_set", state.kernel_set},
                           {"training_loss", loss_to_json(state.training_loss)},
                           {"validation_loss", loss_to_json(state.validation_loss)},
                           {"fewer_updates", state.fewer_updates},
                           {"files", json::object()}};
  for (const auto& [name, size] : state.files) object["files"][name] = size;
  return to_text(object);
}

Result<TrainerState> parse_trainer_state(std::string_view text, std::string_view where) {
  SLUICE_ASSIGN(const json object, parse_json(text, where));
  auto state = state_from_json(object);
  if (!state) return in_context(where, std::move(state).error());
  return state;
}

Result<TrainerState> read_trainer_state(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / kTrainerStateFile;
  SLUICE_ASSIGN(const json object, read_json(path, kStateBytesMax));
  auto state = state_from_json(object);
  if (!state) return in_context(path.string(), std::move(state).error());
  return state;
}

std::string name_of(OptimizerTensor tensor, std::string_view parameter) {
  switch (tensor) {
    case OptimizerTensor::kFirstMoment: return fmt::format("m.{}", parameter);
    case OptimizerTensor::kSecondMoment: return fmt::format("v.{}", parameter);
    case OptimizerTensor::kMaster: return fmt::format("master.{}", parameter);
  }
  SLUICE_CHECK(false, "no such tensor");
}

Result<OptimizerReader> OptimizerReader::open(const std::filesystem::path& folder) {
  SLUICE_ASSIGN(SafetensorsFile file, SafetensorsFile::open(folder / kOptimizerFile));
  return OptimizerReader(std::move(file));
}

Status OptimizerReader::read(OptimizerTensor tensor, std::string_view parameter, const Shape& shape,
                             std::span<float> out) const {
  SLUICE_CHECK_EQ(static_cast<std::int64_t>(out.size()), shape.count());
  const std::string name = name_of(tensor, parameter);
  const StoredTensor* stored = file_.find(name);
  if (stored == nullptr) return invalid_input("{}: missing: {}", file_.path().string(), name);
  if (stored->shape() != shape || stored->dtype != DType::kF32) {
    return invalid_input("{}: wrong: {}: {} {} where F32 {} is needed", file_.path().string(), name,
                         stored->dtype_name, stored->shape_text(), shape.to_string());
  }
  return file_.read_bytes(*stored, 0, std::as_writable_bytes(out));
}

}  // namespace sluice::store

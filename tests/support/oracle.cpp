// Reading oracle folders.
#include "tests/support/oracle.hpp"

#include <fstream>

#include "kernels/base/check.hpp"

namespace sluice::test {
namespace {

template <class T>
T value_of(Result<T> result) {
  SLUICE_CHECK(result.has_value(), "{}", result.error().message);
  return std::move(*result);
}

}  // namespace

Oracle::Oracle(const std::filesystem::path& folder)
    : checkpoint_(value_of(store::CheckpointReader::open(folder))),
      expected_(value_of(store::SafetensorsFile::open(folder / "expected.safetensors"))) {
  std::ifstream in(folder / "expected.json");
  SLUICE_CHECK(in.good(), "no expected.json in {}", folder.string());
  numbers_ = nlohmann::json::parse(in);
}

Tensor Oracle::expected(const std::string& name) const { return value_of(expected_.read(name)); }

void Oracle::load(WholeModel& model) const {
  for (const auto& [name, parameter] : model.parameters()) {
    const Status status =
        checkpoint_.read(name, parameter->shape, parameter->master.values<float>());
    SLUICE_CHECK(status.has_value(), "{}", status.error().message);
  }
  model.refresh();
}

Losses losses_of(const nlohmann::json& json) {
  return {json["main"], json["balance"], json["total"], json["mtp"].get<std::vector<double>>()};
}

}  // namespace sluice::test

// Elements of tensors that a log holds, by their digest.
#pragma once

#include <unordered_map>

#include "runtime/trace/events.hpp"

namespace sluice::trace {

class Elements {
 public:
  [[nodiscard]] static Result<Elements> open(const std::filesystem::path& log);

  /// While the log is read: a payload that was met can be given out from now on.
  void met(const PayloadEvent& event) {
    offsets_.insert_or_assign(event.info.digest, event.offset);
  }
  [[nodiscard]] bool holds(const ArrayInfo& info) const {
    return info.state != ArrayInfo::State::kValues || offsets_.contains(info.digest);
  }
  /// Errors: elements that the log does not hold.
  [[nodiscard]] Result<Tensor> find(const ArrayInfo& info) const;

 private:
  explicit Elements(store::File file) : file_(std::move(file)) {}
  store::File file_;
  std::unordered_map<std::uint64_t, std::uint64_t> offsets_;  // of records
};

}  // namespace sluice::trace

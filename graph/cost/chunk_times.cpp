// Sums of tasks, and the two lanes of a pair.
#include "graph/cost/chunk_times.hpp"

#include <algorithm>

namespace sluice::cost {
namespace {

constexpr Task kForwardCompute[] = {Task::kAttentionForward, Task::kFeedForwardForward};
constexpr Task kForwardTransfer[] = {Task::kDispatchForward, Task::kCombineForward};
constexpr Task kInputCompute[] = {Task::kFeedForwardInput, Task::kAttentionInput};
constexpr Task kInputTransfer[] = {Task::kCombineBackward, Task::kDispatchBackward};
constexpr Task kWeightCompute[] = {Task::kFeedForwardWeight, Task::kAttentionWeight};

double of(const TaskSeconds& seconds, Task task) { return seconds[static_cast<std::size_t>(task)]; }

template <std::size_t Size>
double sum_of(const TaskSeconds& seconds, const Task (&tasks)[Size]) {
  double sum = 0;
  for (const Task task : tasks) sum += of(seconds, task);
  return sum;
}

// Two lanes, each doing what it is given in order. A task starts when its lane is free and what it
// needs is there.
class Lanes {
 public:
  double compute(double seconds, double needs) {
    computed_ += seconds;
    return compute_free_ = std::max(compute_free_, needs) + seconds;
  }
  /// Nothing to transfer holds nobody up.
  double transfer(double seconds, double needs) {
    if (seconds == 0) return needs;
    transferred_ += seconds;
    return transfer_free_ = std::max(transfer_free_, needs) + seconds;
  }
  [[nodiscard]] PassTime result(double end) const {
    const double total = std::max({end, compute_free_, transfer_free_});
    return {total, transferred_, std::min(transferred_, total - computed_)};
  }

 private:
  double compute_free_ = 0, transfer_free_ = 0;
  double computed_ = 0, transferred_ = 0;
};

class Pair {
 public:
  /// Either may be null.
  void step(const UnitTimes* forward, const UnitTimes* backward) {
    const TaskSeconds none{};
    const TaskSeconds& f = forward ? forward->beside : none;
    const TaskSeconds& b = backward ? backward->beside : none;
    const double sums = lanes_.transfer(of(b, Task::kCombineBackward), backward_);
    const double attended = lanes_.compute(of(f, Task::kAttentionForward), forward_);
    const double inputs = lanes_.compute(of(b, Task::kFeedForwardInput), sums);
    const double dispatched = lanes_.transfer(of(f, Task::kDispatchForward), attended);
    const double returned = lanes_.transfer(of(b, Task::kDispatchBackward), inputs);
    lanes_.compute(of(b, Task::kFeedForwardWeight), inputs);
    const double fed = lanes_.compute(of(f, Task::kFeedForwardForward), dispatched);
    backward_ = lanes_.compute(of(b, Task::kAttentionInput), returned);
    lanes_.compute(of(b, Task::kAttentionWeight), backward_);
    forward_ = lanes_.transfer(of(f, Task::kCombineForward), fed);
  }
  [[nodiscard]] PassTime result() const { return lanes_.result(std::max(forward_, backward_)); }

 private:
  Lanes lanes_;
  double forward_ = 0, backward_ = 0;  // when each flow has come so far
};

PassTime in_series(double compute, double transfer) {
  return {compute + transfer, transfer, transfer};
}

}  // namespace

TaskSeconds task_seconds(const UnitKernels& kernels, const Hardware& hardware, double sms) {
  const double gap = hardware.rates.launch_gap_us * hardware.rates.launches_per_kernel * 1e-6;
  TaskSeconds out{};
  for (std::size_t task = 0; task < kTaskCount; ++task) {
    for (const Kernel& kernel : kernels[task]) {
      out[task] += seconds_of(kernel, hardware, sms) + (kernel.is_transfer() ? 0 : gap);
    }
  }
  return out;
}

ClassSeconds class_seconds(const UnitKernels& kernels, const Hardware& hardware, double sms) {
  ClassSeconds out{};
  for (const auto& task : kernels) {
    for (const Kernel& kernel : task) {
      out[static_cast<std::size_t>(kernel.kind)] += seconds_of(kernel, hardware, sms);
    }
  }
  return out;
}

ChunkTimes chunk_times(const std::vector<UnitTimes>& units) {
  double forward = 0, forward_transfer = 0, input = 0, input_transfer = 0, weight = 0;
  for (const UnitTimes& unit : units) {
    forward += sum_of(unit.alone, kForwardCompute);
    forward_transfer += sum_of(unit.alone, kForwardTransfer);
    input += sum_of(unit.alone, kInputCompute);
    input_transfer += sum_of(unit.alone, kInputTransfer);
    weight += sum_of(unit.alone, kWeightCompute);
  }
  return {in_series(forward, forward_transfer), in_series(input, input_transfer),
          in_series(weight, 0)};
}

PassTime pair_time(const std::vector<UnitTimes>& forward, const std::vector<UnitTimes>& backward) {
  Pair pair;
  for (std::size_t i = 0; i < std::max(forward.size(), backward.size()); ++i) {
    pair.step(i < forward.size() ? &forward[i] : nullptr,
              i < backward.size() ? &backward[backward.size() - 1 - i] : nullptr);
  }
  return pair.result();
}

}  // namespace sluice::cost

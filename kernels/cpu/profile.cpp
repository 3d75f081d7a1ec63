// Accumulates kernel timings.
#include "kernels/cpu/profile.hpp"

namespace sluice::kernels {

void Profile::add(const char* name, double seconds, double operations) {
  Entry& entry = entries_[name];
  entry.seconds += seconds;
  entry.calls += 1;
  entry.operations += operations;
}

void Profile::add(const Profile& other) {
  for (const auto& [name, theirs] : other.entries_) {
    Entry& entry = entries_[name];
    entry.seconds += theirs.seconds;
    entry.calls += theirs.calls;
    entry.operations += theirs.operations;
  }
}

ProfileScope::ProfileScope(const ComputeContext& context, const char* name, double operations)
    : profile_(context.profile), name_(name), operations_(operations) {
  if (profile_ != nullptr) start_ = std::chrono::steady_clock::now();
}

ProfileScope::~ProfileScope() {
  if (profile_ == nullptr) return;
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start_;
  profile_->add(name_, took.count(), operations_);
}

}  // namespace sluice::kernels

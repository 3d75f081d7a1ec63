// Positioned reads into the log, beside whoever reads it through.
#include "runtime/trace/elements.hpp"

namespace sluice::trace {

Result<Elements> Elements::open(const std::filesystem::path& log) {
  SLUICE_ASSIGN(store::File file, store::File::open_read(log));
  return Elements(std::move(file));
}

Result<Tensor> Elements::find(const ArrayInfo& info) const {
  const auto found = offsets_.find(info.digest);
  if (found == offsets_.end())
    return failed("the log does not hold the elements of a tensor {}", to_string(info));
  ByteWriter head;
  encode(info, head);
  Tensor out = Tensor::zeros(info.dtype, info.shape);
  SLUICE_TRY(file_.read_at(found->second + kRecordHeadBytes + head.bytes().size(),
                           {out.bytes(), out.size_bytes()}));
  return out;
}

}  // namespace sluice::trace

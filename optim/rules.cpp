// The rules' optimizers, compiled once.
#include <rewind/optim/adam.hpp>
#include <rewind/optim/rms_prop.hpp>
#include <rewind/optim/sgd.hpp>

namespace rw::optim {

template class Optimizer<rule::Sgd>;
template class Optimizer<rule::Adam>;
template class Optimizer<rule::AdamW>;
template class Optimizer<rule::RmsProp>;

}  // namespace rw::optim

// All optimizers and schedules.
#pragma once

#include <rewind/optim/adam.hpp>
#include <rewind/optim/optimizer.hpp>
#include <rewind/optim/rms_prop.hpp>
#include <rewind/optim/schedule.hpp>
#include <rewind/optim/sgd.hpp>

// The N-API module of this addon: registers its functions and nothing else.
#include <node_api.h>

#include "connection.h"
#include "mount.h"

NAPI_MODULE_INIT() {
  cairn::registerMount(env, exports);
  cairn::registerConnection(env, exports);
  return exports;
}

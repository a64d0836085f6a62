-- The key check of the nginx + Lua contestant: HMAC-SHA256 of each presented key with OpenSSL, then a look-up of its
-- id. The HMAC's key is hashed once, buffers are reused, and everything compiles to machine code.
--
-- dofile("check.lua")(DIRECTORY, PREFIX) gives the function for access_by_lua_block. DIRECTORY holds `ids` and
-- `shared-secret`; PREFIX is "kg_<version>_".

local ffi = require "ffi"

ffi.cdef [[
typedef struct hmac_ctx_st HMAC_CTX;
HMAC_CTX *HMAC_CTX_new(void);
const void *EVP_sha256(void);
int HMAC_Init_ex(HMAC_CTX *context, const void *key, int length, const void *digest, void *engine);
int HMAC_Update(HMAC_CTX *context, const unsigned char *data, size_t length);
int HMAC_Final(HMAC_CTX *context, unsigned char *mac, unsigned int *length);
]]

local ID_LENGTH, MAC_HEX = 12, 40

return function(directory, prefix)
  local ids = {}
  for id in io.lines(directory .. "/ids") do
    ids[id] = true
  end
  local file = assert(io.open(directory .. "/shared-secret"))
  local secret = file:read("*a")
  file:close()

  local C = ffi.C
  local context = C.HMAC_CTX_new()
  assert(C.HMAC_Init_ex(context, secret, #secret, C.EVP_sha256(), nil) == 1)
  local mac, length = ffi.new("unsigned char[32]"), ffi.new("unsigned int[1]")
  local hex, digits = ffi.new("unsigned char[?]", MAC_HEX), ffi.new("unsigned char[16]", "0123456789abcdef")
  local rshift, band = bit.rshift, bit.band
  local id_from, id_to = #prefix + 1, #prefix + ID_LENGTH

  local function mac_of(signed)
    C.HMAC_Init_ex(context, nil, 0, nil, nil)
    C.HMAC_Update(context, signed, #signed)
    C.HMAC_Final(context, mac, length)
    for at = 0, MAC_HEX / 2 - 1 do
      hex[2 * at] = digits[rshift(mac[at], 4)]
      hex[2 * at + 1] = digits[band(mac[at], 15)]
    end
    return ffi.string(hex, MAC_HEX)
  end

  return function()
    local key = ngx.var.http_x_api_key
    if key and #key > MAC_HEX + id_to and key:sub(1, #prefix) == prefix then
      local id = key:sub(id_from, id_to)
      if mac_of(key:sub(1, -MAC_HEX - 2)) == key:sub(-MAC_HEX) and ids[id] then
        ngx.var.client = id
        return
      end
    end
    return ngx.exit(401)
  end
end

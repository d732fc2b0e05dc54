-- ARGV: ttl, id. Gives the entry that was removed, if it was alive.

local e = fetch(ARGV[2])
if not e then
    return {}
end
remove(e)
return is_live(e) and { listed(e) } or {}

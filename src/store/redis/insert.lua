-- ARGV: ttl, the entry.

local e = fetch(ARGV[2])
if e and is_live(e) then
    return 0
elseif e then
    remove(e)
end
write(given(2, 0))
return 1

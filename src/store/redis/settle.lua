-- ARGV: ttl, id, fence, then nothing to drop it, or the entry. Gives 1 if it
-- was done, 0 if the lease was lost.

local e = fetch(ARGV[2])
local fence = tonumber(ARGV[3])
if not e or e.f ~= fence then
    return 0
end
remove(e)
if #ARGV > 3 then
    write(given(4, fence))
end
return 1

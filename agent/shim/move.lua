-- Moves an active job to the front of its queue, for BullMQ before 5.41, which has no moveToWait: 3, 4 and 5.0 move a job
-- to wait only under a rate limit, or by way of delayed, behind all that wait. 3 and 4 count an attempt when a job
-- starts: it is taken back.
--
-- KEYS: active, wait, paused, prioritized (priority in 3), stalled, marker, meta, events, the job, its lock
-- ARGV: the job's id, the lock's token, BullMQ's major version
-- 1: moved; 0: the lock is not ours any more, and nothing was done
local call, id, major = redis.call, ARGV[1], tonumber(ARGV[3])
local job, lock = KEYS[9], KEYS[10]
if call('GET', lock) ~= ARGV[2] or call('LREM', KEYS[1], 1, id) == 0 then return 0 end
local paused = call('HEXISTS', KEYS[7], 'paused') == 1
local priority = tonumber(call('HGET', job, 'priority')) or 0
if priority > 0 then call('ZADD', KEYS[4], major < 4 and priority or priority * 0x100000000, id) end
if priority == 0 or major < 4 then call('RPUSH', paused and KEYS[3] or KEYS[2], id) end
call('DEL', lock)
call('SREM', KEYS[5], id)
call('HDEL', job, 'pb')
if major < 5 then call('HINCRBY', job, 'attemptsMade', -1) end
if not paused and major >= 5 then call('ZADD', KEYS[6], 0, '0') end
if not paused and major == 4 and priority > 0 and call('LLEN', KEYS[2]) == 0 then call('LPUSH', KEYS[2], '0:0') end
call('XADD', KEYS[8], 'MAXLEN', '~', 10000, '*', 'event', 'waiting', 'jobId', id, 'prev', 'active')
return 1

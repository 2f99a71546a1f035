module.exports = (job) => new Promise((done) => setTimeout(done, job.data.ms));
